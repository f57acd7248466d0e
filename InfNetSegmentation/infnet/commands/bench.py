"""``infnet bench``: how fast the models run here, in each way, and where the time of a whole CT goes."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from infnet.commands.arguments import add_model_arguments
from infnet.reporting import Reporter

if TYPE_CHECKING:
    from infnet.inference.benchmark import Speed, Timing
    from infnet.inference.job_benchmark import Job

NAME = "bench"
HELP = "Measure the speed of the models in each runtime, and of the whole job."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--ct", type=Path, metavar="CT", help="a chest CT; default: a synthetic one")
    parser.add_argument("--json", type=Path, metavar="F.json", help="file for the measurements and what the machine is")
    parser.add_argument(
        "--repeats", type=int, default=5, metavar="N", help="timed rounds, after an untimed one; default %(default)s"
    )
    add_model_arguments(parser)


def run(options: argparse.Namespace, reporter: Reporter) -> None:
    import json
    import tempfile
    from dataclasses import asdict

    from infnet.data.files import check_output, written_whole
    from infnet.data.volumes import read_ct
    from infnet.devices import device_name
    from infnet.errors import InputError
    from infnet.inference.benchmark import (
        BATCH_SIZES,
        ORIGINAL,
        measure_speed,
        original_model,
        slices_of,
        write_phantom,
    )
    from infnet.inference.case import Settings
    from infnet.inference.job_benchmark import measure_job
    from infnet.inference.predictor import predict_infection, stack
    from infnet.inference.slices import SliceLook
    from infnet.machine import machine_facts
    from infnet.weights.cards import DEFAULT_MODELS, findings_model
    from infnet.weights.store import load_model

    if options.repeats < 1:
        raise InputError(f"--repeats {options.repeats}: give 1 or more.")
    if options.json is not None:
        check_output(options.json, (".json",))
    device = device_name(options.device)
    facts = machine_facts()
    with tempfile.TemporaryDirectory() as folder:
        ct = options.ct
        if ct is None:
            ct = Path(folder) / "phantom.nrrd"
            write_phantom(ct)
        infection_name = options.model or DEFAULT_MODELS["infection"]
        infection = load_model(infection_name)
        threshold = infection.card.threshold if options.threshold is None else options.threshold
        slices = slices_of(read_ct(ct)[0], SliceLook(window=infection.card.window), max(BATCH_SIZES))
        image = stack(slices, infection.card.input_size)
        speeds = {
            infection.card.name: measure_speed(
                infection_name, (image,), threshold, device, options.repeats, reporter.progress
            )
        }
        findings_name = findings_model(infection.card, options.labels_model)
        if findings_name is not None:
            findings = load_model(findings_name).card
            prior = predict_infection(infection, image).infection
            inputs = (stack(slices, findings.input_size), stack(list(prior[:, 0]), findings.input_size))
            speeds[findings.name] = measure_speed(
                findings_name, inputs, 0.5, device, options.repeats, reporter.progress
            )
        original = original_model(Path(folder) / ORIGINAL, infection.card.input_size)
        speeds[ORIGINAL] = measure_speed(original, (image,), threshold, device, options.repeats, reporter.progress)
        settings = Settings(options.model, options.labels_model, options.threshold, device=options.device)
        job = measure_job(ct, settings, Path(folder) / "study", reporter.progress)
    payload: dict[str, Any] = {
        "schema": "infnet-bench/2",
        "machine": facts,
        "device": device,
        "ct": "phantom" if options.ct is None else options.ct.name,
        "repeats": options.repeats,
        "models": {
            name: [{**asdict(speed), "way": speed.way._asdict()} for speed in rows] for name, rows in speeds.items()
        },
        "job": {
            **asdict(job),
            "share_outside_network": job.share_outside_network,
            "share_outside_network_once_loaded": job.share_outside_network_once_loaded,
        },
    }
    if options.json is not None:
        with written_whole(options.json) as temporary:
            temporary.write_text(json.dumps(payload, indent=2) + "\n", encoding="utf-8")
    lines = [*_machine_lines(facts), *_speed_lines(speeds), *_comparison_lines(speeds), *_job_lines(job)]
    reporter.result(payload, "\n".join(lines))


def _machine_lines(facts: dict[str, Any]) -> list[str]:
    return [f"{name.replace('_', ' ')}: {value}" for name, value in facts.items() if value is not None]


def _speed_lines(speeds: "dict[str, list[Speed]]") -> list[str]:
    lines = []
    for name, rows in speeds.items():
        reference = rows[0].one.median_ms
        lines += [
            "",
            f"{name}: ms a slice and pass, median (range) of the clock; beside eager 32 at batch 1",
            f"{'runtime':<10}{'precision':<11}{'batch 1':<24}{'best batch':<30}{'faster':>7}{'core ms':>9}{'MB':>7}"
            f"{'difference':>12}{'Dice':>9}{'changed':>10}",
        ]
        for row in rows:
            best = f"{_milliseconds(row.best)} at {row.best.batch_size}"
            memory = "-" if row.peak_memory_mb is None else f"{row.peak_memory_mb:.0f}"
            lines.append(
                f"{row.way.runtime:<10}{row.way.precision:<11}{_milliseconds(row.one):<24}{best:<30}"
                f"{reference / row.best.median_ms:>6.2f}x{row.best.processor_ms:>9.1f}{memory:>7}"
                f"{row.difference:>12.1e}{row.dice:>9.5f}{row.changed:>10.4%}"
            )
    return lines


def _milliseconds(timing: "Timing") -> str:
    return f"{timing.median_ms:.1f} ({timing.lowest_ms:.1f}-{timing.highest_ms:.1f})"


def _comparison_lines(speeds: "dict[str, list[Speed]]") -> list[str]:
    """Each way beside the original one: the original network, eagerly, one slice at a time."""
    original, infection = speeds["original"], next(iter(speeds))
    reference = original[0].one
    lines = [
        "",
        "beside the original way (Inf-Net on Res2Net-50, random weights, eager 32, one slice at a time: "
        f"{_milliseconds(reference)} ms), one pass a slice",
        f"{'runtime':<10}{'precision':<11}{'the same network':>20}{infection:>20}",
    ]
    for same, other in zip(original, speeds[infection], strict=True):
        ratios = [f"{reference.median_ms / row.best.median_ms:.2f}x" for row in (same, other)]
        lines.append(f"{same.way.runtime:<10}{same.way.precision:<11}{ratios[0]:>20}{ratios[1]:>20}")
    return lines


def _job_lines(job: "Job") -> list[str]:
    total = sum(job.seconds.values())
    stages = (f"{stage:<18}{value:>8.2f}{value / total:>8.1%}" for stage, value in job.seconds.items())
    return [
        "",
        "whole job, seconds of the clock",
        *stages,
        f"{'total':<18}{total:>8.2f}"
        + ("" if job.processor_seconds is None else f"; of the processor's cores {job.processor_seconds:.2f}"),
        f"outside the network: {job.share_outside_network:.1%}, start, end and models apart "
        f"{job.share_outside_network_once_loaded:.1%}",
        *([] if job.peak_memory_mb is None else [f"peak memory: {job.peak_memory_mb:.0f} MB"]),
    ]
