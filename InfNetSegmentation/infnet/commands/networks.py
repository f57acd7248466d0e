"""``infnet networks``: the networks that can be trained, with their size and their cost."""

import argparse

from infnet.reporting import Reporter

NAME = "networks"
HELP = "List the networks that can be trained, with their parameters and their cost."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    pass


def run(options: argparse.Namespace, reporter: Reporter) -> None:
    from infnet.errors import InvalidModelError
    from infnet.networks.costs import network_cost
    from infnet.networks.encoders import ENCODERS
    from infnet.networks.registry import NETWORKS

    choices = [
        (spec, {"encoder": encoder} if encoder else {})
        for spec in NETWORKS.values()
        for encoder in (ENCODERS if spec.name == "inf-net" else ("",))
    ]
    rows = []
    lines = [f"{'network':<32}{'task':<11}{'parameters':>12}{'GMAC at 352²':>14}  reference: what it is"]
    for done, (spec, network_options) in enumerate(choices):
        reporter.progress("networks", done, len(choices))
        row = {
            "name": spec.name,
            "options": network_options,
            "task": spec.task,
            "guided": spec.guided,
            "summary": spec.summary,
            "reference": spec.reference,
        }
        title = " ".join([spec.name, *network_options.values()])
        try:
            parameters, gmacs = network_cost(spec.name, network_options)
        except InvalidModelError as error:  # its library is not installed
            lines.append(f"{title:<32}{spec.task:<11}  {error}")
        else:
            row |= {"parameters": parameters, "gmacs": gmacs}
            figures = f"{parameters / 1e6:>10.2f} M{gmacs:>14.2f}"
            lines.append(f"{title:<32}{spec.task:<11}{figures}  {spec.reference}: {spec.summary}")
        rows.append(row)
    reporter.progress("networks", len(choices), len(choices))
    reporter.result({"networks": rows}, "\n".join(lines))
