"""The torch data set of labelled slices, and the sampler that makes every draw repeatable."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch.utils.data import Dataset, Sampler
from torchvision import tv_tensors
from torchvision.transforms import v2

from infnet.data import augmentation
from infnet.data.labelled_slices import LabelledSlice, unit_range


class Sample(NamedTuple):
    """A slice ready for training: image and prior (1, S, S) float32 in [0, 1], labels (S, S) int64."""

    image: torch.Tensor
    labels: torch.Tensor
    prior: torch.Tensor


class SliceDataset(Dataset[Sample]):
    """Slices resized to ``size``² pixels and augmented.

    Indexed by (index, seed): the augmentation is a function of the seed alone, so a resumed training sees what
    an undisturbed one would have seen. The prior is the given infection map or, three times in ten and where none
    was given, the true mask: the multi-class network learns to use either.
    """

    def __init__(self, slices: Sequence[LabelledSlice], size: int) -> None:
        self._slices = slices
        self._resize = v2.Resize((size, size), antialias=True)
        self._geometry = augmentation.geometry()
        self._intensity = augmentation.intensity()

    def __len__(self) -> int:
        return len(self._slices)

    def __getitem__(self, draw: tuple[int, int]) -> Sample:
        index, seed = draw
        labelled = self._slices[index]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            if torch.rand(()) < 0.3 or labelled.prior is None:
                map_ = (labelled.labels > 0).astype(np.float32)
            else:
                map_ = unit_range(labelled.prior)
            image = tv_tensors.Image(torch.tensor(labelled.image)[None] / 255)
            prior = tv_tensors.Image(torch.from_numpy(map_)[None])
            labels = tv_tensors.Mask(torch.from_numpy(labelled.labels.astype(np.int64))[None])
            image, prior, labels = self._geometry(*self._resize(image, prior, labels))
            image = self._intensity(image).clamp(0, 1)
        return Sample(
            image.as_subclass(torch.Tensor),
            labels[0].as_subclass(torch.Tensor),
            prior.as_subclass(torch.Tensor),
        )


class SeededSampler(Sampler[tuple[int, int]]):
    """Yields (index, seed) for `SliceDataset`: a new order and new seeds every epoch, all from ``seed``.

    Lightning calls ``set_epoch``, so a resumed run goes on with the epoch's own draws.
    """

    def __init__(self, length: int, seed: int) -> None:
        self._length = length
        self._seed = seed
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self._epoch = epoch

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[tuple[int, int]]:
        generator = np.random.default_rng([self._seed, self._epoch])
        order = generator.permutation(self._length)
        seeds = generator.integers(2**62, size=self._length)
        return iter(zip(order.tolist(), seeds.tolist(), strict=True))
