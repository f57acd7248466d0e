"""The losses against numbers worked out by hand or by the plain formula."""

import math

import numpy as np
import pytest
import torch
from infnet.networks import InfNetMaps
from infnet.training.losses import (
    consolidation_loss,
    edges,
    gate_loss,
    infection_loss,
    multi_class_loss,
    pixel_weights,
    plain_loss,
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


def test_segmentation_loss_of_several_maps_is_the_sum_of_theirs():
    mask = square()
    maps = [torch.randn_like(mask) for _ in range(3)]
    expected = torch.stack([segmentation_loss(map_, mask) for map_ in maps]).sum()
    torch.testing.assert_close(segmentation_loss(torch.cat(maps, 1), mask), expected)


def test_total_loss_sums_the_maps_and_the_edge():
    mask = square()
    undecided = torch.zeros_like(mask)
    maps = InfNetMaps(*[undecided] * 5)
    torch.testing.assert_close(infection_loss(maps, mask), 4 * segmentation_loss(undecided, mask) + math.log(2))
    right = torch.where(mask > 0, 50.0, -50.0)
    edge = torch.where(edges(mask) > 0, 50.0, -50.0)
    for loss in ("paper", "paper-released-code", "modern"):
        assert infection_loss(InfNetMaps(right, right, right, right, edge), mask, loss) < 1e-3
    # A network with one map, such as U-Net, and one that refines to S2:
    torch.testing.assert_close(infection_loss(InfNetMaps(undecided), mask), segmentation_loss(undecided, mask))
    five = maps._replace(S2=right, Se=None)
    torch.testing.assert_close(infection_loss(five, mask), 4 * segmentation_loss(undecided, mask), atol=1e-4, rtol=0)


def test_the_modern_loss_is_the_papers_but_for_the_finest_map():
    mask = square()
    sg, s5, s4, s3 = (torch.randn_like(mask) for _ in range(4))
    expected = segmentation_loss(sg, mask) + segmentation_loss(s5, mask) + segmentation_loss(s4, mask)
    torch.testing.assert_close(
        infection_loss(InfNetMaps(sg, s5, s4, s3), mask, "modern"), expected + plain_loss(s3, mask)
    )


def test_the_released_codes_bce_is_not_weighted():
    mask = square()
    logits = torch.randn_like(mask)
    weights = pixel_weights(mask)
    bce = functional.binary_cross_entropy_with_logits(logits, mask)
    expected = bce + weighted_iou(torch.sigmoid(logits), mask, weights).mean()
    torch.testing.assert_close(infection_loss(InfNetMaps(logits), mask, "paper-released-code"), expected)


def test_plain_loss_counts_every_pixel_alike():
    """Of a mask of 400 pixels, 100 missed and 100 found beside it, at p = 0.9 and 0.1, from the counts."""
    mask = square()
    found = mask.clone()
    found[..., 20:25, 20:40], found[..., 40:45, 20:40] = 0, 1
    logits = torch.where(found > 0, 1.0, -1.0) * math.log(9)
    intersection = 300 * 0.9 + 100 * 0.1
    union = 400 + 100 * 0.9 + (64 * 64 - 500) * 0.1
    bce = -(200 * math.log(0.1) + (64 * 64 - 200) * math.log(0.9)) / 64**2
    assert plain_loss(logits, mask).item() == pytest.approx(bce + 1 - (intersection + 1) / (union + 1), rel=1e-5)


@pytest.mark.parametrize("probability", [0.1, 0.3, 0.6, 0.9])
def test_plain_loss_of_a_soft_truth_is_least_at_that_truth(probability):
    mask = torch.full((1, 1, 32, 32), probability)
    candidates = torch.arange(0.02, 1, 0.02)
    losses = [plain_loss(torch.logit(torch.full_like(mask, c)), mask).item() for c in candidates]
    assert candidates[int(np.argmin(losses))].item() == pytest.approx(probability, abs=0.011)


@pytest.mark.parametrize("loss", [segmentation_loss, plain_loss])
def test_of_an_empty_truth_bce_alone_is_learnt(loss):
    """Nothing where the map is empty; every pixel found adds its own part of the mean."""
    empty = torch.zeros(1, 1, 100, 100)
    logits = torch.full_like(empty, -30.0)
    assert loss(logits, empty).item() < 1e-6
    for rows in (1, 5, 20, 100):
        logits[..., :rows, :] = 30
        assert loss(logits, empty).item() == pytest.approx(30 * rows / 100, rel=1e-5)


def test_an_empty_image_in_a_batch_does_not_change_the_others_share():
    """Every loss is a mean over images: that of a batch is the mean of those of its images."""
    masks = torch.cat([square(), torch.zeros(1, 1, 64, 64), square(first=5, last=15), square()])
    labels = masks[:, 0].long()
    labels[0, 20:25, 20:25] = labels[3] = 2
    parts = (labels == 2)[:, None] * masks
    logits, gates = torch.randn_like(masks), torch.randn(4)
    maps = InfNetMaps(logits, Se=logits.flip(0), S3=logits.flip(-1))
    classes = torch.randn(4, 3, 64, 64)
    for whole, single in (
        *(
            (infection_loss(maps, masks, k), [infection_loss(maps.each(one(i)), masks[i : i + 1], k) for i in range(4)])
            for k in ("paper", "paper-released-code", "modern")
        ),
        *(
            (
                multi_class_loss(classes, labels, k),
                [multi_class_loss(one(i)(classes), labels[i : i + 1], k) for i in range(4)],
            )
            for k in ("paper", "paper-released-code", "modern")
        ),
        (gate_loss(gates, masks), [gate_loss(one(i)(gates), masks[i : i + 1]) for i in range(4)]),
        (
            consolidation_loss(logits, masks, parts),
            [consolidation_loss(*(one(i)(x) for x in (logits, masks, parts))) for i in range(4)],
        ),
    ):
        torch.testing.assert_close(whole, torch.stack(single).mean())


def one(index):
    return lambda batch: batch[index : index + 1]


def test_gate_loss_asks_whether_any_pixel_is_infected():
    masks = torch.cat([square(), torch.zeros(1, 1, 64, 64), torch.full((1, 1, 64, 64), 0.4)])
    masks[0] = 0
    masks[0, 0, 3, 3] = 1
    right = torch.tensor([50.0, -50.0, -50.0])
    assert gate_loss(right, masks) < 1e-3
    assert gate_loss(torch.zeros(3), masks).item() == pytest.approx(math.log(2))


def test_consolidation_loss_looks_at_infected_pixels_alone_and_at_both_findings_alike():
    labels = torch.zeros(2, 64, 64, dtype=torch.long)  # the second image is healthy
    labels[0, 10:30, 10:30], labels[0, 10:14, 10:14] = 1, 2
    right = torch.where(labels == 2, 50.0, -50.0)[:, None]
    truth = [(labels > 0).float()[:, None], (labels == 2).float()[:, None]]
    anywhere = torch.where(truth[0] > 0, right, torch.randn(2, 1, 64, 64) * 50)
    assert consolidation_loss(right, *truth) < 1e-3
    torch.testing.assert_close(consolidation_loss(anywhere, *truth), consolidation_loss(right, *truth))
    # Undecided: BCE ln 2; IoU of 16 of 400 pixels at 1/2 and of 384 of 400; half of it each, and half the images.
    iou = (1 - (8 + 1) / (200 + 8 + 1) + 1 - (192 + 1) / (200 + 192 + 1)) / 2
    undecided = consolidation_loss(torch.zeros(2, 1, 64, 64), *truth)
    assert undecided.item() == pytest.approx((math.log(2) + iou) / 2, rel=1e-5)


def test_consolidation_loss_of_soft_truths_is_least_at_their_own_share():
    mask, share = torch.rand(3, 1, 16, 16), torch.rand(3, 1, 16, 16)
    least = consolidation_loss(torch.logit(share), mask, share * mask)
    for change in (-0.5, 0.5):
        assert consolidation_loss(torch.logit(share) + change, mask, share * mask) > least + 0.01


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
    for loss in ("modern", "paper"):
        assert multi_class_loss(truth, labels, loss) < 1e-3
        assert multi_class_loss(swapped, labels, loss) > 1


def test_multi_class_losses_of_the_paper_and_of_its_code():
    labels = torch.randint(0, 3, (2, 8, 8))
    logits = torch.randn(2, 3, 8, 8)
    z, y = logits.movedim(1, -1).reshape(-1, 3).numpy(), labels.reshape(-1).numpy()
    log_softmax = z - np.log(np.exp(z).sum(1, keepdims=True))
    entropy = -log_softmax[np.arange(len(y)), y].mean()
    assert multi_class_loss(logits, labels, "paper").item() == pytest.approx(entropy, rel=1e-5)
    sigmoid, truth = 1 / (1 + np.exp(-z)), np.eye(3)[y]
    bce = -(truth * np.log(sigmoid) + (1 - truth) * np.log(1 - sigmoid)).mean()
    assert multi_class_loss(logits, labels, "paper-released-code").item() == pytest.approx(bce, rel=1e-5)
