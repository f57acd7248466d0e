"""How fast each runtime is with a model, and how far it is from eager float32."""

import itertools
import multiprocessing
import statistics
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from infnet.anatomy.envelope import lung_envelope
from infnet.anatomy.lungs import segment_lungs
from infnet.data.itk_names import itk_name
from infnet.data.orientation import AxialView
from infnet.devices import supports_bf16
from infnet.inference.runtimes import Runtime, make_runtime
from infnet.inference.runtimes.probabilities import FloatImages
from infnet.inference.slices import SliceLook
from infnet.machine import peak_memory_mb
from infnet.networks import build_network
from infnet.reporting import Progress, silent
from infnet.weights.cards import ModelCard
from infnet.weights.store import load_model, save_model
from infnet.weights.stored import read_model

BATCH_SIZES = (1, 2, 4, 8)

FloatSlice = NDArray[np.float32]


class Way(NamedTuple):
    """A way of running a model: a runtime and a precision, as on the command line."""

    runtime: str
    precision: str


REFERENCE = Way("eager", "32")
ORIGINAL = "original"


@dataclass(frozen=True)
class Timing:
    """Milliseconds a slice: of the clock (median and range), and of all processor cores together (median)."""

    batch_size: int
    median_ms: float
    lowest_ms: float
    highest_ms: float
    processor_ms: float


@dataclass(frozen=True)
class Speed:
    """A way of running a model, and what it gives and takes, one pass through the network a slice.

    ``one`` is the timing of single slices, ``best`` that of the fastest batch size by the clock. ``difference`` is
    the largest of a probability from `REFERENCE`, ``dice`` the overlap of both segmentations at the model's
    threshold, ``changed`` the share of pixels that only one of them has. ``peak_memory_mb`` is that of a process which
    only loads the model and runs one batch of the best size.
    """

    way: Way
    one: Timing
    best: Timing
    difference: float
    dice: float
    changed: float
    peak_memory_mb: float | None


def ways(device: str) -> list[Way]:
    """Every way of running a model on ``device``, `REFERENCE` first."""
    precisions = ["32", *(["bf16"] if supports_bf16(device) else []), *(["16"] if device.startswith("cuda") else [])]
    runtimes = ["fused", *(["openvino"] if device == "cpu" and find_spec("openvino") else [])]
    return [REFERENCE, *itertools.starmap(Way, itertools.product(runtimes, precisions))]


def slices_of(ct: sitk.Image, look: SliceLook, count: int) -> list[FloatSlice]:
    """``count`` slices with lung, as the networks see them, evenly spread over the CT. Raises `NoLungError`."""
    view = AxialView(ct)
    crops = look.crops(lung_envelope(AxialView(segment_lungs(ct)).array(), view.spacing))
    levels = sorted(crops)
    chosen = [levels[i] for i in np.linspace(0, len(levels) - 1, count).round().astype(int)]
    hu = view.array()
    return [look.render(hu[z][crops[z]]) for z in chosen]


def original_model(folder: Path, input_size: int) -> str:
    """A model of the paper's Inf-Net, on Res2Net-50, made in ``folder``: by its path.

    Its weights are random: its speed is that of the original, its answers are not.
    """
    name, options = "inf-net", {"encoder": "res2net50"}
    card = ModelCard(ORIGINAL, "infection", "", {"name": name, "options": options}, input_size, "")
    save_model(folder, card, build_network(name, options))
    return str(folder / f"{ORIGINAL}.json")


def measure_speed(
    name: str,
    images: tuple[FloatImages, ...],
    threshold: float,
    device: str,
    repeats: int,
    progress: Progress = silent,
) -> list[Speed]:
    """Each way of running the model ``name`` on ``images``, (N, 1, S, S) each: slices and, if need be, priors.

    All ways take turns in every repeat, so that other work on the machine slows none of them alone; one more round
    before them is not counted. ``threshold`` is that of the probability which the model is for. Raises what
    `infnet.weights.store.load_model` raises.
    """
    model = load_model(name)
    runtimes = {way: make_runtime(way.runtime, model, device, way.precision) for way in ways(device)}
    sizes = [size for size in BATCH_SIZES if size <= len(images[0])]
    rounds: dict[tuple[Way, int], list[tuple[float, float]]] = {}
    for turn in range(repeats + 1):
        progress(model.card.name, turn, repeats + 1)
        for size, (way, runtime) in itertools.product(sizes, runtimes.items()):
            taken = _seconds(runtime, tuple(x[:size] for x in images))
            if turn:
                rounds.setdefault((way, size), []).append(taken)
    answers = {way: _answer(runtime, images) for way, runtime in runtimes.items()}
    progress(model.card.name, repeats + 1, repeats + 1)
    speeds = []
    for way in runtimes:
        timings = [_timing(size, rounds[way, size]) for size in sizes]
        best = min(timings, key=lambda timing: timing.median_ms)
        memory = _peak_memory_of_process(name, way, tuple(x[: best.batch_size] for x in images), device)
        difference, dice, changed = _agreement(answers[way], answers[REFERENCE], threshold)
        speeds.append(Speed(way, timings[0], best, difference, dice, changed, memory))
    return speeds


def write_phantom(path: Path) -> None:
    """A synthetic chest CT of 256×256×48 voxels: body, two lungs, spine, trachea, and some ground-glass opacity."""
    z, y, x = np.ogrid[-120:120:48j, -175:175:256j, -175:175:256j]  # mm

    def ellipsoid(centre: tuple[float, float, float], radii: tuple[float, float, float]) -> NDArray[np.bool_]:
        terms = [((c - m) / r) ** 2 for c, m, r in zip((x, y, z), centre, radii, strict=True)]
        return np.asarray(sum(terms) < 1)

    hu = np.full((48, 256, 256), -1000.0)
    hu[np.broadcast_to((x / 160) ** 2 + (y / 112) ** 2 < 1, hu.shape)] = 40
    hu[np.broadcast_to((x / 18) ** 2 + ((y - 78) / 18) ** 2 < 1, hu.shape)] = 400
    lungs = ellipsoid((-68, 0, 0), (52, 76, 100)) | ellipsoid((68, 0, 0), (52, 76, 100))
    hu[lungs] = -850
    hu[ellipsoid((-80, 30, -20), (22, 20, 30)) & lungs] = -550
    hu[((x / 9) ** 2 + ((y - 10) / 9) ** 2 < 1) & (z > 20)] = -1000
    hu += np.random.default_rng(0).normal(0, 15, hu.shape)
    image = sitk.GetImageFromArray(hu.round().astype(np.int16))
    image.SetSpacing((350 / 255, 350 / 255, 240 / 47))
    image.SetOrigin((-175, -175, -120))
    sitk.WriteImage(image, itk_name(path))


def _seconds(runtime: Runtime, images: tuple[FloatImages, ...]) -> tuple[float, float]:
    """Of the clock and of the processor, a slice."""
    clock, processor = time.perf_counter(), time.process_time()
    runtime(*images)
    return (time.perf_counter() - clock) / len(images[0]), (time.process_time() - processor) / len(images[0])


def _timing(size: int, taken: Sequence[tuple[float, float]]) -> Timing:
    clock, processor = ([1000 * s for s in column] for column in zip(*taken, strict=True))
    return Timing(size, statistics.median(clock), min(clock), max(clock), statistics.median(processor))


def _answer(runtime: Runtime, images: tuple[FloatImages, ...]) -> FloatImages:
    """The probability that the model is for, slice by slice: infection, or consolidation where the prior is 0.5."""
    answers = []
    for i in range(len(images[0])):
        said = runtime(*(x[i : i + 1] for x in images))
        answers.append(next(p for p in said if p is not None).copy())  # the next answer may go into the same memory
    answer = np.concatenate(answers)
    return answer if len(images) == 1 else answer * (images[1] >= 0.5)


def _agreement(answer: FloatImages, reference: FloatImages, threshold: float) -> tuple[float, float, float]:
    """Largest difference, Dice of the two segmentations (1 where both are empty), share of changed pixels."""
    one, other = answer >= threshold, reference >= threshold
    total = int(one.sum() + other.sum())
    dice = 2 * int((one & other).sum()) / total if total else 1.0
    return float(np.abs(answer - reference).max()), dice, float((one ^ other).mean())


def _peak_memory_of_process(name: str, way: Way, images: tuple[FloatImages, ...], device: str) -> float | None:
    with ProcessPoolExecutor(max_workers=1, mp_context=multiprocessing.get_context("spawn")) as process:
        return process.submit(_run_once, name, way, images, device).result()


def _run_once(name: str, way: Way, images: tuple[FloatImages, ...], device: str) -> float | None:
    make_runtime(way.runtime, read_model(name), device, way.precision)(*images)
    return peak_memory_mb()
