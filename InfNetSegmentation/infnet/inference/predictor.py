"""Infection and findings on 2-D slices in the training look."""

import platform
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from itertools import cycle, islice
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

import infnet
from infnet.devices import choose_precision, device_name
from infnet.errors import InvalidModelError, OutOfMemoryError, is_out_of_memory
from infnet.inference.mirror_images import (
    MIRRORED_FROM,
    MIRRORINGS,
    Axes,
    InfectionPrediction,
    dealt,
    mean_over_mirror_images,
)
from infnet.inference.runtimes import choose_runtime, make_runtime
from infnet.inference.runtimes.probabilities import FloatImages
from infnet.inference.slices import LOWEST_THRESHOLD, FloatSlice, SlicePrediction
from infnet.weights.cards import DEFAULT_MODELS, findings_model
from infnet.weights.stored import StoredModel, read_model

if TYPE_CHECKING:
    from infnet.weights.store import Model

_CPU_BATCH, _BATCH = 4, 8  # on a CPU more gains nothing, and costs memory (docs/speed.md)
_ROUNDING = 1e-5  # of a probability
_Look = tuple[FloatSlice, tuple[Axes, ...]]  # a slice and its mirror images
_PRECISIONS = {"32": "float32", "bf16": "bfloat16", "16": "float16"}


class SlicePredictor:
    """From slices to infection and findings.

    With two models, the infection map is the prior of the multi-class network. With one, whose network has a
    consolidation head, ``findings`` is None. Where the infection model has a gate, slices below its card's
    ``gate_threshold`` are emptied, and no network sees them again: neither their mirror images nor, in the multi-class
    network, their maps. Nor is that network shown slices without a pixel of at least `LOWEST_THRESHOLD`, or of
    ``threshold`` (None: the model's own) if that is lower: it has no say in their labels.

    Call it with slices (H, W) float32 in [0, 1], of any sizes; it yields one `SlicePrediction` a slice, in
    order, batch by batch. The networks look at a batch in a second thread while the caller has the one before, and the
    next is asked for in a third.
    ``precision`` as in `infnet.devices.choose_precision`, ``runtime`` as in `infnet.inference.runtimes`. Each answer is
    the mean over ``mirror_images``, which ``neighbours`` in the call, slices in a row whose maps the caller averages,
    share (`infnet.inference.mirror_images.dealt`). Raises InvalidModelError for models that are of another task, or
    cannot do without the other.

    Where memory is short, batches get smaller, and where a device has not enough memory for one slice, the CPU goes on.
    Each call starts with the device and the batch asked for again: a case does not pay for the one before.
    """

    def __init__(
        self,
        infection: "Model | StoredModel",
        findings: "Model | StoredModel | None",
        device: str = "auto",
        batch_size: int | None = None,
        precision: str = "32",
        runtime: str = "auto",
        threshold: float | None = None,
        mirror_images: int = len(MIRRORINGS),
    ) -> None:
        for model, task in ((infection, "infection"), (findings, "findings")):
            if model is not None and model.card.task != task:
                raise InvalidModelError(f"{model.card.name} finds {model.card.task}, not {task}; name another.")
        if findings is None and not infection.card.tells_findings:
            raise InvalidModelError(f"{infection.card.name} does not tell the findings apart; name a model that does.")
        self._asked_device = self._device = device_name(device)
        self._asked_precision = self._precision = choose_precision(precision, self._asked_device)
        self._asked_batch_size = batch_size
        self._infection = infection.card  # the networks are the runtimes', or nobody's
        self._findings = None if findings is None else findings.card
        self._mirror_images = mirror_images
        self._threshold = infection.card.threshold if threshold is None else threshold
        self._runtime = choose_runtime(runtime, self._asked_device)
        self._ask_infection = make_runtime(self._runtime, infection, self._asked_device, precision)
        self._ask_findings = None
        if findings is not None:
            self._ask_findings = make_runtime(self._runtime, findings, self._asked_device, precision)
        self._start()

    @classmethod
    def from_models(
        cls,
        model: str | None = None,
        labels_model: str | None = None,
        device: str = "auto",
        precision: str = "32",
        runtime: str = "auto",
        threshold: float | None = None,
        mirror_images: int = len(MIRRORINGS),
    ) -> "SlicePredictor":
        """The predictor of two models by name or path; None is the shipped one, or none where it is not needed."""
        infection = read_model(model or DEFAULT_MODELS["infection"])
        name = findings_model(infection.card, labels_model)
        findings = None if name is None else read_model(name)
        return cls(
            infection,
            findings,
            device,
            precision=precision,
            runtime=runtime,
            threshold=threshold,
            mirror_images=mirror_images,
        )

    @property
    def provenance(self) -> dict[str, Any]:
        """Models with their weights' SHA-256, how they were asked, device and versions."""
        findings = self._findings or self._infection
        return {
            "infnet": infnet.__version__,
            "infection_model": self._infection.name,
            "infection_weights_sha256": self._infection.sha256,
            "findings_model": findings.name,
            "findings_weights_sha256": findings.sha256,
            "mirror_images": self._mirror_images,
            "slices_sharing_mirror_images": len(self._dealt),
            "mirrored_from": MIRRORED_FROM,
            "gate_threshold": self._infection.gate_threshold,
            "runtime": self._runtime,
            "precision": _PRECISIONS[self._precision],
            "device": self._device,
            "torch": version("torch"),
            **({"openvino": version("openvino")} if self._runtime == "openvino" else {}),
            "python": platform.python_version(),
        }

    @property
    def warnings(self) -> list[str]:
        """What a reader of the last call's result should know of how it was had, one sentence each."""
        return list(self._warnings)

    @property
    def threshold(self) -> float:
        """The probability from which a pixel counts as infected."""
        return self._threshold

    @property
    def window(self) -> tuple[float, float]:
        """HU that the infection model's slices show as 0 and as 1."""
        low, high = self._infection.window  # a list where a file was read
        return low, high

    def __call__(self, slices: Iterable[FloatSlice], neighbours: int = 1) -> Iterator[SlicePrediction]:
        self._start(neighbours)
        remaining = zip(slices, cycle(self._dealt), strict=False)

        def next_batch() -> list[_Look]:
            return list(islice(remaining, self._batch_size))

        with ThreadPoolExecutor(max_workers=1) as rendering, ThreadPoolExecutor(max_workers=1) as asking:
            upcoming = rendering.submit(next_batch)

            def ask() -> list[SlicePrediction]:
                nonlocal upcoming
                batch = upcoming.result()
                upcoming = rendering.submit(next_batch)
                return list(self._predict_in_parts(batch))

            predicted = asking.submit(ask)
            while predictions := predicted.result():
                predicted = asking.submit(ask)
                yield from predictions

    def _predict_in_parts(self, batch: Sequence[_Look]) -> Iterator[SlicePrediction]:
        """Predict a batch, in one piece unless memory is short."""
        while batch:
            predictions = self._predict_if_memory_allows(batch[: self._batch_size])
            if predictions is not None:
                yield from predictions
                batch = batch[len(predictions) :]
            elif self._batch_size > 1:
                self._batch_size //= 2
            elif self._device != "cpu":
                self._move_to_cpu()
            else:
                raise OutOfMemoryError("There is not enough memory for one slice; close other programs.")

    def _start(self, neighbours: int = 1) -> None:
        self._warnings: list[str] = []
        self._dealt = dealt(self._mirror_images, neighbours)
        self._use(self._asked_device, self._asked_precision)
        self._batch_size = self._asked_batch_size or (_CPU_BATCH if self._device == "cpu" else _BATCH)

    def _move_to_cpu(self) -> None:
        self._warnings.append(
            f"The device {self._device} had not enough memory for one slice; the CPU went on, which takes longer."
        )
        self._use("cpu", "32")
        self._batch_size = _CPU_BATCH

    def _use(self, device: str, precision: str) -> None:
        if (device, precision) == (self._device, self._precision):
            return
        from infnet.inference.runtimes.pytorch import TorchRuntime

        self._device, self._precision = device, precision
        for runtime in (self._ask_infection, self._ask_findings):
            if isinstance(runtime, TorchRuntime):  # as all are, away from the CPU
                runtime.use(device, precision)

    def _predict_if_memory_allows(self, batch: Sequence[_Look]) -> list[SlicePrediction] | None:
        # Returns instead of raising: an exception would keep the failed batch's tensors alive.
        try:
            return self._predict(batch)
        except Exception as error:
            if is_out_of_memory(error):
                return None
            raise

    def _predict(self, batch: Sequence[_Look]) -> list[SlicePrediction]:
        card = self._infection
        slices = [slice_ for slice_, _ in batch]
        answer, passed = mean_over_mirror_images(
            self._ask_infection,
            stack(slices, card.input_size),
            card,
            card.gate_threshold,
            [mirrorings for _, mirrorings in batch],
        )
        answer.infection[~passed] = 0
        if self._findings is not None:
            consolidation = self._consolidation(slices, answer.infection)
        else:
            assert answer.consolidation is not None  # or the card would be wrong of its network
            consolidation = answer.consolidation
            consolidation[~passed] = 0
        gates = [None] * len(slices) if answer.gate is None else answer.gate.tolist()
        return [
            SlicePrediction(resize(p, x.shape), resize(q, x.shape), g, is_kept)
            for x, p, q, g, is_kept in zip(slices, answer.infection, consolidation, gates, passed.tolist(), strict=True)
        ]

    def _consolidation(self, batch: Sequence[FloatSlice], infection: FloatImages) -> FloatImages:
        """Probability of consolidation (N, 1, S, S), 0 for the slices without an infected pixel."""
        assert self._findings is not None and self._ask_findings is not None
        size = self._findings.input_size
        consolidation = np.zeros((len(batch), 1, size, size), np.float32)
        # A slice's size is interpolated from this, and so has nowhere more than it, but for rounding.
        asked = infection.max((1, 2, 3)) >= min(self._threshold, LOWEST_THRESHOLD) - _ROUNDING
        if asked.any():
            image = stack([x for x, is_asked in zip(batch, asked, strict=True) if is_asked], size)
            prior = stack(list(infection[asked, 0]), size)
            answer = self._ask_findings(image, prior).consolidation
            assert answer is not None
            consolidation[asked] = answer
        return consolidation


def stack(slices: Sequence[FloatSlice], size: int) -> FloatImages:
    """Slices of any sizes as one array (N, 1, size, size)."""
    return np.stack([_resized(x, (size, size))[None] for x in slices])


def resize(map_: FloatImages, shape: tuple[int, int]) -> FloatSlice:
    """A map (1, S, S) at the size (H, W) of the slice it belongs to."""
    return _resized(map_[0], shape)


def _resized(map_: FloatSlice, shape: tuple[int, int]) -> FloatSlice:
    """As by bilinear interpolation with ``antialias`` in PyTorch, which made the sizes of the training."""
    return np.array(Image.fromarray(map_).resize((shape[1], shape[0]), Image.Resampling.BILINEAR))


def predict_infection(model: "Model", image: FloatImages, device: str = "cpu") -> InfectionPrediction:
    """What a model says of grey slices (N, 1, S, S) in [0, 1]: the means over the mirror images, in float32.

    That of the infection is calibrated by the card's ``temperature`` and ``offset``. The network moves to ``device``.
    """
    return mean_over_mirror_images(make_runtime("eager", model, device), image, model.card)[0]


def consolidation_probability(
    model: "Model", image: FloatImages, prior: FloatImages, device: str = "cpu"
) -> FloatImages:
    """Probability of consolidation given infection (N, 1, S, S), for slices and infection maps (N, 1, S, S)."""
    probability = make_runtime("eager", model, device)(image, prior).consolidation
    assert probability is not None  # what a model for findings says
    return probability
