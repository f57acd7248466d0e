"""The losses against numbers worked out by hand or by the plain formula."""

import math

import numpy as np
import pytest
import torch
from infnet.networks import InfNetMaps
from infnet.training.losses import (
    edges,
    inf_net_loss,
    multi_class_loss,
    pixel_weights,
    segmentation_loss,
    weighted_iou,
)
from PIL import Image
from torch.nn import functional


def square(size=64, first=20, last=40):
    mask = torch.zeros(1, 1, size, size)
    mask[..., first:last, first:last] = 1
    return mask


def test_pixel_weights_are_the_31_by_31_mean_of_the_formula():
    mask = (torch.rand(2, 1, 50, 70) > 0.6).float()
    plain = 1 + 5 * (functional.avg_pool2d(mask, 31, stride=1, padding=15) - mask).abs()
    torch.testing.assert_close(pixel_weights(mask), plain)


def test_weighted_iou_of_half_an_overlap():
    """20×20 squares shifted by 10: I = 200, U = 600, unweighted."""
    mask, other = square(), square().roll(10, -1)
    loss = weighted_iou(other, mask, torch.ones_like(mask))
    assert loss.item() == pytest.approx(1 - 201 / 601)


def test_bce_is_weighted_by_pixel():
    """One wrong row at the square's edge, everything else right: L_BCE^w and L_IoU^w from their sums in numpy."""
    mask = square()
    logits = torch.where(mask > 0, 6.0, -6.0)
    logits[..., 20, 20:40] = -2
    g, z = mask[0, 0].numpy().astype(float), logits[0, 0].numpy().astype(float)
    padded = np.pad(g, 15)
    mean = np.array([[padded[r : r + 31, c : c + 31].mean() for c in range(64)] for r in range(64)])
    w = 1 + 5 * abs(mean - g)
    p = 1 / (1 + np.exp(-z))
    bce = -(g * np.log(p) + (1 - g) * np.log(1 - p))
    weighted_bce = (w * bce).sum() / w.sum()
    iou = ((p * g * w).sum() + 1) / (((p + g - p * g) * w).sum() + 1)
    assert segmentation_loss(logits, mask).item() == pytest.approx(weighted_bce + 1 - iou, rel=1e-5)
    assert weighted_bce > 1.5 * bce.mean()  # so that unweighted BCE would be seen


def test_segmentation_loss_of_undecided_logits():
    """At logit 0: weighted BCE = ln 2 whatever the weights, and the IoU term from its sums."""
    mask = square()
    weights = pixel_weights(mask)
    i = (0.5 * mask * weights).sum()
    u = ((0.5 + mask) * weights).sum() - i
    expected = math.log(2) + 1 - (i + 1) / (u + 1)
    assert segmentation_loss(torch.zeros_like(mask), mask).item() == pytest.approx(expected.item(), rel=1e-5)


def test_total_loss_sums_the_four_maps_and_the_edge():
    mask = square()
    undecided = torch.zeros_like(mask)
    total = inf_net_loss(InfNetMaps(*[undecided] * 5), mask)
    torch.testing.assert_close(total, 4 * segmentation_loss(undecided, mask) + math.log(2))
    right = torch.where(mask > 0, 50.0, -50.0)
    edge = torch.where(edges(mask) > 0, 50.0, -50.0)
    assert inf_net_loss(InfNetMaps(right, right, right, right, edge), mask) < 1e-3


def test_edges_are_where_the_gradient_is_not_zero():
    mask = (functional.avg_pool2d(torch.rand(1, 1, 40, 60), 5, 1, 2) > 0.5).float()
    gy, gx = np.gradient(mask[0, 0].numpy())
    assert np.array_equal(edges(mask)[0, 0].numpy() > 0, gx**2 + gy**2 != 0)


def test_edges_agree_with_those_of_the_data_set(covid_semiseg):
    """Over all slices at least 90 % of the shipped edge pixels are ours."""
    found = shipped = 0
    for path in sorted((covid_semiseg / "labelled" / "Edge").glob("*.png")):
        mask = np.asarray(Image.open(covid_semiseg / "labelled" / "GT" / path.name).convert("L")) > 127
        theirs = np.asarray(Image.open(path).convert("L")) > 127
        ours = edges(torch.tensor(mask[None, None], dtype=torch.float32))[0, 0].numpy() > 0
        found += (ours & theirs).sum()
        shipped += theirs.sum()
    assert found / shipped > 0.9


def test_multi_class_loss_prefers_the_truth():
    labels = torch.zeros(1, 32, 32, dtype=torch.long)
    labels[:, 4:20, 4:20], labels[:, 20:28, 20:28] = 1, 2
    truth = functional.one_hot(labels, 3).movedim(-1, 1) * 40.0
    swapped = truth[:, [0, 2, 1]]
    assert multi_class_loss(truth, labels) < 1e-3
    assert multi_class_loss(swapped, labels) > 1
