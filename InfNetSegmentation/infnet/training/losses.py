"""Losses of Inf-Net (paper, section III-E, eqs. 1, 4 and 5)."""

import torch
from torch.nn import functional

from infnet.networks import InfNetMaps


def pixel_weights(mask: torch.Tensor) -> torch.Tensor:
    """Weights in [1, 6] that are largest at boundaries: 1 + 5·|mean31×31(G) - G| (Wei et al., F3Net, AAAI 2020).

    ``mask`` G (N, C, H, W) in [0, 1]. The mean counts zeros outside the image; it is taken as two 1-D pools.
    """
    mean = functional.avg_pool2d(mask, (31, 1), stride=1, padding=(15, 0))
    mean = functional.avg_pool2d(mean, (1, 31), stride=1, padding=(0, 15))
    return 1 + 5 * (mean - mask).abs()


def weighted_iou(probability: torch.Tensor, mask: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """L_IoU^w per image and channel (N, C): 1 - (I + 1) / (U + 1), sums weighted pixel by pixel (eq. 4)."""
    intersection = (probability * mask * weights).sum((-2, -1))
    union = ((probability + mask) * weights).sum((-2, -1)) - intersection
    return 1 - (intersection + 1) / (union + 1)


def segmentation_loss(logits: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """L_seg = L_IoU^w + λ·L_BCE^w with λ = 1 (eq. 4), the mean over images; all arguments (N, 1, H, W).

    The BCE is really weighted, as the paper says; in the released code the weights cancel.
    """
    weights = pixel_weights(mask)
    bce = functional.binary_cross_entropy_with_logits(logits, mask, reduction="none")
    weighted_bce = (weights * bce).sum((-2, -1)) / weights.sum((-2, -1))
    return (weighted_iou(torch.sigmoid(logits), mask, weights) + weighted_bce).mean()


def edges(mask: torch.Tensor) -> torch.Tensor:
    """G_e, the boundary of a binary mask (N, 1, H, W), about two pixels wide: where its gradient is not zero."""
    gradients = torch.gradient(mask, dim=(-2, -1))
    return torch.stack(list(gradients)).ne(0).any(0).to(mask.dtype)


def inf_net_loss(maps: InfNetMaps, mask: torch.Tensor) -> torch.Tensor:
    """L_total = L_seg(G, Sg) + L_edge + Σ L_seg(G, S_i), i = 3, 4, 5 (eq. 5), for binary G (N, 1, H, W)."""
    loss = functional.binary_cross_entropy_with_logits(maps.Se, edges(mask))
    for s in (maps.Sg, maps.S5, maps.S4, maps.S3):
        loss = loss + segmentation_loss(s, mask)
    return loss


def multi_class_loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Cross-entropy plus weighted IoU of each finding, for logits (N, C, H, W) and labels (N, H, W), 0 background.

    The paper trains its multi-class networks on cross-entropy alone; the IoU term keeps the rarer class alive.
    """
    entropy = functional.cross_entropy(logits, labels)
    one_hot = functional.one_hot(labels, logits.shape[1]).movedim(-1, 1).to(logits.dtype)
    truth, probability = one_hot[:, 1:], torch.softmax(logits, 1)[:, 1:]
    return entropy + weighted_iou(probability, truth, pixel_weights(truth)).mean()
