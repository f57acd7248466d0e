"""Lesions painted into healthy slices."""

import numpy as np
import pytest
import torch
from infnet.data.labelled_slices import LabelledSlice
from infnet.data.slice_dataset import SliceDataset
from infnet.data.synthetic_lesions import add_lesions

LUNG, TISSUE = 0.2, 0.8


def healthy_slice(size: int = 128) -> torch.Tensor:
    image = torch.full((1, size, size), TISSUE)
    image[:, 10:-10, 10:-10] = LUNG
    return image


def painted(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(seed)
    return add_lesions(healthy_slice())


def test_lesions_lie_in_the_lung_and_their_labels_where_they_are():
    findings = []
    for seed in range(60):
        image, labels = painted(seed)
        lesion = labels > 0
        findings += torch.unique(labels[lesion]).tolist()
        assert 0 < lesion.float().mean() < 0.3
        assert (
            not lesion[:10].any() and not lesion[-10:].any() and not lesion[:, :10].any() and not lesion[:, -10:].any()
        )
        rise = (image - healthy_slice())[0]
        far = torch.nn.functional.max_pool2d(lesion[None].float(), 7, 1, 3)[0] == 0
        assert torch.equal(rise[far], torch.zeros_like(rise[far]))
        assert rise[lesion].mean() > 0.05
        assert image.min() >= 0 and image.max() <= 1
    assert 15 < findings.count(1) < 45 and findings.count(1) + findings.count(2) == 60


def test_lung_shows_through_ground_glass_and_hardly_through_consolidation():
    means = {1: [], 2: []}
    for seed in range(60):
        image, labels = painted(seed)
        finding = int(labels.max())
        means[finding].append(float(image[0][labels > 0].mean()))
    assert LUNG < np.mean(means[1]) < 0.5 < 0.65 < np.mean(means[2]) < 0.9


def test_a_slice_without_lung_stays_as_it_is():
    torch.manual_seed(0)
    tissue = torch.full((1, 64, 64), TISSUE)
    image, labels = add_lesions(tissue)
    assert torch.equal(image, tissue) and not labels.any()


@pytest.mark.parametrize(("share", "low", "high"), [(0.0, 0, 0), (0.5, 20, 60), (1.0, 75, 80)])
def test_the_data_set_paints_into_that_share_of_the_healthy_slices_alone(share, low, high):
    grey = (healthy_slice(96)[0] * 255).round().to(torch.uint8).numpy()
    healthy = LabelledSlice("healthy", grey, np.zeros_like(grey))
    infected = LabelledSlice("infected", grey, np.pad(np.ones((32, 32), np.uint8), 32))
    unsure = LabelledSlice("pseudo-labelled", grey, np.zeros_like(grey), soft=np.full_like(grey, 20))
    dataset = SliceDataset([healthy, infected, unsure], 96, synthetic_lesions=share)
    samples = [dataset[0, seed] for seed in range(80)]
    assert low <= sum(bool(sample.labels.any()) for sample in samples) <= high
    for sample in samples:
        assert torch.equal(sample.mask[0] > 0, sample.labels > 0)
        assert torch.equal(sample.prior[0] > 0, sample.labels > 0)
    assert all(dataset[1, seed].labels.max() == 1 for seed in range(10))
    assert not any(dataset[2, seed].labels.any() for seed in range(10))
