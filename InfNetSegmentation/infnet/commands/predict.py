"""``infnet predict``: infection and findings on 2-D images."""

import argparse
from pathlib import Path

from infnet.commands.arguments import (
    add_mirror_argument,
    add_model_arguments,
    add_precision_argument,
    add_runtime_argument,
)
from infnet.reporting import Reporter

NAME = "predict"
HELP = "Segment 2-D slices (grey images, lung window, cropped to the lungs)."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("slices", type=Path, metavar="SLICE_DIR", help="folder of 2-D images")
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        required=True,
        metavar="DIR",
        help="gets infection/STEM.png and consolidation/STEM.png (probability of infection, and of consolidation "
        "where there is infection, as 0..255) and labels/STEM.png (1 GGO, 2 consolidation)",
    )
    add_model_arguments(parser)
    add_precision_argument(parser, "32")
    add_runtime_argument(parser)
    add_mirror_argument(parser)


def run(options: argparse.Namespace, reporter: Reporter) -> None:
    from PIL import Image

    from infnet.data.files import check_folder, folder_aside
    from infnet.data.labelled_slices import eight_bit, find_images, read_grey, unit_range
    from infnet.errors import OutputError
    from infnet.inference.predictor import SlicePredictor

    check_folder(options.output)
    names = ("infection", "consolidation", "labels")
    for folder in (options.output / name for name in names):
        check_folder(folder)
        if folder.is_dir() and options.slices.is_dir() and folder.samefile(options.slices):
            raise OutputError(f"{folder}: the results would be written over the slices; name another folder.")
    paths = find_images(options.slices)
    predictor = SlicePredictor.from_models(
        options.model,
        options.labels_model,
        options.device,
        options.precision,
        options.runtime,
        options.threshold,
        options.mirror_images,
    )
    gates = {}
    is_new = not options.output.exists()
    try:
        options.output.mkdir(parents=True, exist_ok=True)
        # Written aside and moved at the end, so that a run that fails leaves earlier results as they were.
        with folder_aside(options.output) as aside:
            for name in names:
                (aside / name).mkdir()
            slices = (unit_range(read_grey(path)) for path in paths)
            for done, (path, prediction) in enumerate(zip(paths, predictor(slices), strict=True), start=1):
                pictures = {
                    "infection": eight_bit(prediction.infection),
                    "consolidation": eight_bit(prediction.consolidation),
                    "labels": prediction.labels(predictor.threshold),
                }
                for name, picture in pictures.items():
                    Image.fromarray(picture).save(aside / name / f"{path.stem}.png")
                if prediction.gate is not None:
                    gates[path.stem] = round(prediction.gate, 4)
                reporter.progress("slices", done, len(paths))
            for finished in sorted(aside.glob("*/*.png")):
                folder = options.output / finished.parent.name
                folder.mkdir(exist_ok=True)
                finished.replace(folder / finished.name)
    except OSError as error:
        raise OutputError(f"{options.output}: cannot be written ({error.strerror or error}).") from error
    finally:
        if is_new and options.output.is_dir() and not any(options.output.iterdir()):
            options.output.rmdir()
    reporter.result(
        {"output": str(options.output), "images": len(paths), "gates": gates, "provenance": predictor.provenance},
        f"{len(paths)} images: {options.output}",
    )
