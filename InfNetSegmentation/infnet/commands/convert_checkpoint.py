"""``infnet convert-checkpoint``: a checkpoint of the original code as a model of this package."""

import argparse
from pathlib import Path

from infnet.reporting import Reporter

NAME = "convert-checkpoint"
HELP = "Convert a checkpoint of the original Inf-Net code into a model."

_SUMMARIES = {
    "inf-net": "Infection of the lung on axial CT slices; weights of the original code.",
    "infection-guided-unet": "Ground-glass opacity or consolidation, within a given infection map; weights of the "
    "original code.",
}
_LIMITS = {
    "inf-net": "The original's test code stretches every map to 0..1 before anything is measured on it; here the map "
    "is the plain probability, whose threshold was never calibrated.",
    "infection-guided-unet": "Trained with one sigmoid for each output, of which the original takes the largest; the "
    "softmax of them, which is used here, chooses the same class but is no calibrated probability.",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, metavar="FILE", help="checkpoint, such as Semi-Inf-Net-100.pth")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="folder for the model")
    parser.add_argument("--name", help="name of the model; default: the file's")


def run(options: argparse.Namespace, reporter: Reporter) -> None:
    import hashlib

    import infnet
    from infnet.data.files import check_folder
    from infnet.errors import InputError
    from infnet.networks.official_checkpoints import read_official_checkpoint
    from infnet.networks.registry import NETWORKS
    from infnet.weights.cards import ModelCard, is_model_name
    from infnet.weights.store import save_model

    check_folder(options.output)
    name = options.name or options.file.stem
    if not is_model_name(name):
        raise InputError(f"--name {name}: a short name, without folders, is wanted; --output says where.")
    reporter.progress("conversion", 0, 1)
    checkpoint = read_official_checkpoint(options.file)
    card = ModelCard(
        name=name,
        task=NETWORKS[checkpoint.name].task,
        summary=_SUMMARIES[checkpoint.name],
        network={"name": checkpoint.name, "options": checkpoint.options},
        input_size=352,
        licence="The terms of the original weights apply: non-commercial research use only.",
        training={
            "provenance": "converted from the original code's checkpoint",
            "checkpoint": options.file.name,
            "checkpoint_sha256": hashlib.sha256(options.file.read_bytes()).hexdigest(),
            "command": options.command_line,
            "infnet": infnet.__version__,
        },
        limits=_LIMITS[checkpoint.name],
    )
    save_model(options.output, card, checkpoint.network, half=False)
    reporter.progress("conversion", 1, 1)
    path = options.output / f"{name}.json"
    reporter.result({"output": str(path), "network": dict(card.network)}, f"{card.summary}\n{path}")
