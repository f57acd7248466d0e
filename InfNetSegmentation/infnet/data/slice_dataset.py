"""The torch data set of labelled slices, and the sampler that makes every draw repeatable."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch.utils.data import Dataset, Sampler
from torchvision import tv_tensors
from torchvision.transforms import v2

from infnet.data import augmentation
from infnet.data.findings import CONSOLIDATION
from infnet.data.labelled_slices import LabelledSlice, unit_range
from infnet.data.synthetic_lesions import add_lesions


class Sample(NamedTuple):
    """A slice ready for training: labels (S, S) int64, the others (1, S, S) float32 in [0, 1].

    ``mask`` and ``consolidation`` are the truth of the infection and of that part of it: 0 or 1 where they come from
    labels, probabilities where they are soft.
    """

    image: torch.Tensor
    labels: torch.Tensor
    prior: torch.Tensor
    mask: torch.Tensor
    consolidation: torch.Tensor


class SliceDataset(Dataset[Sample]):
    """Slices resized to ``size``² pixels and, if ``augment``, augmented, on ``device``.

    Indexed by (index, seed): the augmentation is a function of the seed alone, so a resumed training sees what
    an undisturbed one would have seen (but for noise, where it goes on with another kind of device). The prior is the
    given infection map or, three times in ten and where none was given, the true mask: the multi-class network learns
    to use either. ``synthetic_lesions`` is the share of healthy slices that lesions are painted into
    (`infnet.data.synthetic_lesions`).
    """

    def __init__(
        self,
        slices: Sequence[LabelledSlice],
        size: int,
        augment: bool = True,
        synthetic_lesions: float = 0.0,
        device: torch.device | str = "cpu",
    ) -> None:
        self._slices = slices
        self._device = torch.device(device)
        self._synthetic_lesions = synthetic_lesions
        self._resize = v2.Resize((size, size), antialias=True)
        self._geometry = augmentation.geometry() if augment else v2.Identity()
        self._intensity = augmentation.intensity() if augment else v2.Identity()

    def __len__(self) -> int:
        return len(self._slices)

    def __getitem__(self, draw: tuple[int, int]) -> Sample:
        index, seed = draw
        labelled = self._slices[index]
        with torch.random.fork_rng([self._device] if self._device.type == "cuda" else []):
            torch.manual_seed(seed)
            if torch.rand(()) < 0.3 or labelled.prior is None:
                map_ = (labelled.labels > 0).astype(np.float32)
            else:
                map_ = unit_range(labelled.prior)
            given = [unit_range(labelled.image), map_]
            if labelled.soft is not None:
                infected = unit_range(labelled.soft)
                given.append(infected)
                if labelled.soft_consolidation is not None:
                    given.append(infected * unit_range(labelled.soft_consolidation))
            # As one: each warp is paid for once.
            maps = tv_tensors.Image(torch.from_numpy(np.stack(given)).to(self._device))
            labels = tv_tensors.Mask(torch.from_numpy(labelled.labels[None]).to(self._device, torch.int64))
            maps, labels = self._geometry(*self._resize(maps, labels))
            image, prior, *soft = maps.as_subclass(torch.Tensor).split(1)
            if labelled.is_healthy and torch.rand(()) < self._synthetic_lesions:
                image, painted = add_lesions(image)
                labels, prior = painted[None], (painted[None] > 0).float()
            image = self._intensity(tv_tensors.Image(image)).clamp(0, 1)
        if soft:
            mask, consolidation = soft[0], soft[1] if len(soft) > 1 else torch.zeros_like(soft[0])
        else:
            mask, consolidation = (labels > 0).float(), (labels == CONSOLIDATION.label).float()
        return Sample(*(t.as_subclass(torch.Tensor) for t in (image, labels[0], prior, mask, consolidation)))


class SeededSampler(Sampler[tuple[int, int]]):
    """Yields (index, seed) for `SliceDataset`: a new order and new seeds every epoch, all from ``seed``.

    An epoch has every slice in which a reader found infection. Of those with a soft truth it draws as many as are
    ``soft_share`` of them, or all where that is None; of the healthy ones as many as are ``healthy_share`` of both
    together. Where there are fewer, or there is nothing to take a share of, it has all.
    """

    def __init__(
        self, slices: Sequence[LabelledSlice], seed: int, healthy_share: float, soft_share: float | None = None
    ) -> None:
        self._is_soft = np.array([s.soft is not None for s in slices])
        self._is_healthy = np.array([s.is_healthy for s in slices])
        soft, healthy = int(self._is_soft.sum()), int(self._is_healthy.sum())
        labelled = len(slices) - soft - healthy
        self._soft_drawn = min(soft, round(soft_share * labelled)) if labelled and soft_share is not None else soft
        others = labelled + self._soft_drawn
        self._healthy_drawn = min(healthy, round(healthy_share * others)) if others else healthy
        self._length = others + self._healthy_drawn
        self._seed = seed
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self._epoch = epoch

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[tuple[int, int]]:
        generator = np.random.default_rng([self._seed, self._epoch])
        order = generator.permutation(len(self._is_healthy))
        is_soft, is_healthy = self._is_soft[order], self._is_healthy[order]
        left_out = (is_soft & (is_soft.cumsum() > self._soft_drawn)) | (
            is_healthy & (is_healthy.cumsum() > self._healthy_drawn)
        )
        seeds = generator.integers(2**62, size=self._length)
        return iter(zip(order[~left_out].tolist(), seeds.tolist(), strict=True))
