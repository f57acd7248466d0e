"""Infection and findings on 2-D slices in the training look."""

import platform
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

import infnet
from infnet.devices import autocast_dtype, choose_device
from infnet.errors import InvalidModelError, OutOfMemoryError, is_out_of_memory
from infnet.inference.mirror_images import MIRRORINGS, InfectionPrediction, mean_over_mirror_images
from infnet.inference.runtimes import choose_runtime, make_runtime
from infnet.inference.runtimes.probabilities import FindingsProbabilities, InfectionProbabilities
from infnet.inference.runtimes.pytorch import TorchRuntime
from infnet.inference.slices import finding_labels
from infnet.inference.volume import LOWEST_THRESHOLD
from infnet.weights.cards import DEFAULT_MODELS
from infnet.weights.store import Model, StoredModel, read_model

FloatSlice = NDArray[np.float32]

_CPU_BATCH, _BATCH = 4, 8  # on a CPU more gains nothing, and costs memory (docs/speed.md)
_ROUNDING = 1e-5  # of a probability


@dataclass(frozen=True)
class SlicePrediction:
    """What the networks say of one slice, (H, W) float32 each.

    ``infection``: probability of infection. ``consolidation``: probability that a pixel, if infected, is
    consolidation rather than ground-glass opacity; 0 all over where no pixel is infected. ``gate``: probability that
    the slice shows infection at all, None where the model does not say. ``passed``: whether it did, by the model's
    ``gate_threshold``; where it did not, both maps are 0.
    """

    infection: FloatSlice
    consolidation: FloatSlice
    gate: float | None = None
    passed: bool = True

    def labels(self, threshold: float) -> NDArray[np.uint8]:
        """(H, W) uint8: 0 background, 1 ground-glass opacity, 2 consolidation, within infection ≥ threshold."""
        return finding_labels(self.infection, self.consolidation, threshold)


class SlicePredictor:
    """From slices to infection and findings.

    With two models, the infection map is the prior of the multi-class network. With one, whose network has a
    consolidation head, ``findings`` is None. Where the infection model has a gate, slices below its card's
    ``gate_threshold`` are emptied, and no network sees them again: neither their mirror images nor, in the multi-class
    network, their maps. That network is not shown either what has no pixel of at least `LOWEST_THRESHOLD`, or of the
    ``threshold`` if that is lower (None: the model's own), since that slice's labels depend on it nowhere else.

    Call it with slices (H, W) float32 in [0, 1], of any sizes; it yields one `SlicePrediction` a slice, in
    order, batch by batch; the next batch is asked for in a second thread while the networks look at one.
    ``precision`` as in `infnet.devices.autocast_dtype`, ``runtime`` as in `infnet.inference.runtimes`. Raises
    InvalidModelError for models that are of another task, or cannot do without the other.

    Where memory is short, batches get smaller, and where a device has not the memory for one slice, the CPU goes on.
    Each call starts with the device and the batch asked for again: a case does not pay for the one before.
    """

    def __init__(
        self,
        infection: Model | StoredModel,
        findings: Model | StoredModel | None,
        device: str = "auto",
        batch_size: int | None = None,
        precision: str = "32",
        runtime: str = "auto",
        threshold: float | None = None,
    ) -> None:
        for model, task in ((infection, "infection"), (findings, "findings")):
            if model is not None and model.card.task != task:
                raise InvalidModelError(f"{model.card.name} finds {model.card.task}, not {task}; name another.")
        if findings is None and not infection.card.tells_findings:
            raise InvalidModelError(f"{infection.card.name} does not tell the findings apart; name a model that does.")
        self._asked_device = choose_device(device)
        self._asked_dtype = autocast_dtype(precision, self._asked_device)
        self._asked_batch_size = batch_size
        self._infection = infection.card  # the networks are the runtimes', or nobody's
        self._findings = None if findings is None else findings.card
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
    ) -> "SlicePredictor":
        """The predictor of two models by name or path; None is the shipped one, or none where it is not needed."""
        infection = read_model(model or DEFAULT_MODELS["infection"])
        alone = labels_model is None and infection.card.tells_findings
        findings = None if alone else read_model(labels_model or DEFAULT_MODELS["findings"])
        return cls(infection, findings, device, precision=precision, runtime=runtime, threshold=threshold)

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
            "mirror_images": len(MIRRORINGS),
            "gate_threshold": self._infection.gate_threshold,
            "runtime": self._runtime,
            "precision": "float32" if self._dtype is None else str(self._dtype).removeprefix("torch."),
            "device": str(self._device),
            "torch": torch.__version__,
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
        low, high = self._infection.window
        return low, high

    def __call__(self, slices: Iterable[FloatSlice]) -> Iterator[SlicePrediction]:
        self._start()
        remaining = iter(slices)

        def next_batch() -> list[FloatSlice]:
            return list(islice(remaining, self._batch_size))

        with ThreadPoolExecutor(max_workers=1) as thread:
            upcoming = thread.submit(next_batch)
            while batch := upcoming.result():
                upcoming = thread.submit(next_batch)
                yield from self._predict_in_parts(batch)

    def _predict_in_parts(self, batch: Sequence[FloatSlice]) -> Iterator[SlicePrediction]:
        """Predict a batch, in one piece unless memory is short."""
        while batch:
            predictions = self._predict_if_memory_allows(batch[: self._batch_size])
            if predictions is not None:
                yield from predictions
                batch = batch[len(predictions) :]
            elif self._batch_size > 1:
                self._batch_size //= 2
            elif self._device.type != "cpu":
                self._move_to_cpu()
            else:
                raise OutOfMemoryError("There is not the memory for one slice; close other programs.")

    def _start(self) -> None:
        self._warnings: list[str] = []
        self._use(self._asked_device, self._asked_dtype)
        self._batch_size = self._asked_batch_size or (_CPU_BATCH if self._device.type == "cpu" else _BATCH)

    def _move_to_cpu(self) -> None:
        self._warnings.append(
            f"The device {self._device} had not the memory for one slice; the CPU went on, which takes longer."
        )
        self._use(torch.device("cpu"), None)
        self._batch_size = _CPU_BATCH

    def _use(self, device: torch.device, dtype: torch.dtype | None) -> None:
        self._device, self._dtype = device, dtype
        for runtime in (self._ask_infection, self._ask_findings):
            if isinstance(runtime, TorchRuntime):  # as all are, away from the CPU
                runtime.use(device, dtype)

    def _predict_if_memory_allows(self, batch: Sequence[FloatSlice]) -> list[SlicePrediction] | None:
        # Returns instead of raising: an exception would keep the failed batch's tensors alive.
        try:
            return self._predict(batch)
        except Exception as error:
            if is_out_of_memory(error):
                return None
            raise

    @torch.inference_mode()
    def _predict(self, batch: Sequence[FloatSlice]) -> list[SlicePrediction]:
        card = self._infection
        answer, passed = mean_over_mirror_images(
            self._ask_infection, stack(batch, card.input_size), card, card.gate_threshold
        )
        answer.infection[~passed] = 0
        if self._findings is not None:
            consolidation = self._consolidation(batch, answer.infection)
        else:
            assert answer.consolidation is not None  # or the card would be wrong of its network
            consolidation = answer.consolidation
            consolidation[~passed] = 0
        gates = [None] * len(batch) if answer.gate is None else answer.gate.tolist()
        return [
            SlicePrediction(resize(p, x.shape), resize(q, x.shape), g, is_kept)
            for x, p, q, g, is_kept in zip(batch, answer.infection, consolidation, gates, passed.tolist(), strict=True)
        ]

    def _consolidation(self, batch: Sequence[FloatSlice], infection: torch.Tensor) -> torch.Tensor:
        """Probability of consolidation (N, 1, S, S), 0 for the slices without an infected pixel."""
        assert self._findings is not None and self._ask_findings is not None
        size = self._findings.input_size
        consolidation = torch.zeros(len(batch), 1, size, size)
        # A slice's size is interpolated from this, and so has nowhere more than it, but for rounding.
        asked = infection.amax((1, 2, 3)) >= min(self._threshold, LOWEST_THRESHOLD) - _ROUNDING
        if asked.any():
            image = stack([x for x, is_asked in zip(batch, asked, strict=True) if is_asked], size)
            prior = stack([p[0].numpy() for p in infection[asked]], size)
            answer = self._ask_findings(image, prior).consolidation
            assert answer is not None
            consolidation[asked] = answer
        return consolidation


def stack(slices: Sequence[FloatSlice], size: int) -> torch.Tensor:
    """Slices of any sizes as one (N, 1, size, size) tensor on the CPU."""
    resized = [
        functional.interpolate(torch.tensor(x)[None, None], (size, size), mode="bilinear", antialias=True)
        for x in slices
    ]
    return torch.cat(resized)


def resize(map_: torch.Tensor, shape: tuple[int, ...]) -> FloatSlice:
    """A map (1, S, S) on the CPU at the size (H, W) of the slice it belongs to."""
    resized = functional.interpolate(map_[None], shape, mode="bilinear", antialias=True)
    return resized[0, 0].numpy()


@torch.inference_mode()
def predict_infection(model: Model, image: torch.Tensor) -> InfectionPrediction:
    """What a model says of grey slices (N, 1, S, S) in [0, 1]: the means over the mirror images.

    That of the infection is calibrated by the card's ``temperature`` and ``offset``.
    """
    return mean_over_mirror_images(InfectionProbabilities(model), image, model.card)[0]


def infection_probability(model: Model, image: torch.Tensor) -> torch.Tensor:
    """Probability of infection (N, 1, S, S) alone (`predict_infection`)."""
    return predict_infection(model, image).infection


@torch.inference_mode()
def consolidation_probability(model: Model, image: torch.Tensor, prior: torch.Tensor) -> torch.Tensor:
    """Probability of consolidation given infection (N, 1, S, S), for slices and infection maps (N, 1, S, S)."""
    probability: torch.Tensor = FindingsProbabilities(model)(image, prior).consolidation
    return probability
