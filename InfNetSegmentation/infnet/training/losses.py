"""Losses of Inf-Net (paper, eqs. 1, 4 and 5), and what is done otherwise today.

Every loss is a mean over images of a loss per image, so that processes which share a batch, each with as many images,
get its gradient as the mean of theirs.

Of an empty truth, the IoU's term is 1 but for a vanishing rest, whatever the map is, since eq. 4 adds 1. In the losses
of infection it is left out there, and BCE alone is learnt from.
"""

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


def segmentation_loss(logits: torch.Tensor, mask: torch.Tensor, bce_weighted: bool = True) -> torch.Tensor:
    """L_seg = L_IoU^w + λ·L_BCE^w with λ = 1 (eq. 4): the sum over maps, of that the mean over images.

    ``logits`` (N, M, H, W) are those of M maps, ``mask`` (N, 1, H, W) in [0, 1] their common truth. The BCE is really
    weighted, as the paper says; in the released code its weights cancel (``bce_weighted=False``).
    """
    weights = pixel_weights(mask)
    bce = functional.binary_cross_entropy_with_logits(logits, mask.expand_as(logits), reduction="none")
    bce_weights = weights if bce_weighted else torch.ones_like(weights)
    mean_bce = (bce_weights * bce).sum((-2, -1)) / bce_weights.sum((-2, -1))
    probability = torch.sigmoid(logits)
    iou = weighted_iou(probability, mask, weights) * _has_any(mask)
    return (iou + mean_bce).sum(1).mean()


def plain_loss(logits: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """BCE plus soft IoU, every pixel alike, the mean over images; (N, 1, H, W), mask in [0, 1].

    Weights at boundaries make maps too large at 0.5. Intersection and union are sums of min(P, G) and max(P, G): for
    0 and 1 that is the same as products, and for a soft G, alone of the two, it is least at P = G (Wang et al.,
    "Jaccard Metric Losses", NeurIPS 2023).
    """
    return _soft_iou(torch.sigmoid(logits), mask).mean() + functional.binary_cross_entropy_with_logits(logits, mask)


def _soft_iou(probability: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """(N, C): of each image the loss of the IoU for soft truths, 0 where the mask is empty."""
    intersection = torch.minimum(probability, mask).sum((-2, -1))
    union = torch.maximum(probability, mask).sum((-2, -1))
    return (1 - (intersection + 1) / (union + 1)) * _has_any(mask)


def _has_any(mask: torch.Tensor) -> torch.Tensor:
    """(N, C): 1 where a mask (N, C, H, W) is not empty."""
    return (mask.amax((-2, -1)) > 0).to(mask.dtype)


def edges(mask: torch.Tensor) -> torch.Tensor:
    """G_e, the boundary of a binary mask (N, 1, H, W), about two pixels wide: where its gradient is not zero."""
    gradients = torch.gradient(mask, dim=(-2, -1))
    return torch.stack(list(gradients)).ne(0).any(0).to(mask.dtype)


def infection_loss(maps: InfNetMaps, mask: torch.Tensor, loss: str = "paper") -> torch.Tensor:
    """L_total = L_seg(G, Sg) + L_edge + Σ L_seg(G, S_i), i = 3, 4, 5 (eq. 5), for G (N, 1, H, W) in [0, 1].

    Of the maps that there are. L_edge is the mean over pixels, as in the released code, where eq. 1 has a sum.
    ``loss``: "paper"; "paper-released-code", whose BCE is not weighted; "modern", which is the paper's but for the
    finest map, the answer, which gets `plain_loss`.
    """
    *coarser, finest = maps.segmentations
    supervised = []
    if loss == "modern":
        supervised.append(plain_loss(finest, mask))
    else:
        coarser.append(finest)
    if coarser:
        supervised.append(segmentation_loss(torch.cat(coarser, 1), mask, loss != "paper-released-code"))
    if maps.Se is not None:
        supervised.append(functional.binary_cross_entropy_with_logits(maps.Se, edges((mask >= 0.5).to(mask.dtype))))
    return torch.stack(supervised).sum()


def gate_loss(logits: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """BCE of the gate (N,) against whether any pixel of the mask (N, 1, H, W) is infected (0.5 or more)."""
    return functional.binary_cross_entropy_with_logits(logits, (mask.amax((1, 2, 3)) >= 0.5).to(logits.dtype))


def consolidation_loss(logits: torch.Tensor, mask: torch.Tensor, consolidation: torch.Tensor) -> torch.Tensor:
    """BCE and the soft IoU of either finding, within the true infection; all (N, 1, H, W).

    ``logits`` are those of consolidation where there is infection; ``mask`` and ``consolidation``, in [0, 1], the truth
    of the infection and of that part of it. The IoU counts both findings alike, however much smaller one is. An image
    without infection adds nothing; of an image with one finding, the IoU of the other is left to the BCE.
    """
    ground_glass = mask - consolidation
    entropy = -(consolidation * functional.logsigmoid(logits) + ground_glass * functional.logsigmoid(-logits))
    mean_entropy = entropy.sum((-2, -1)) / mask.sum((-2, -1)).clamp(min=1)
    probability = torch.sigmoid(logits)
    iou = _soft_iou(probability * mask, consolidation) + _soft_iou((1 - probability) * mask, ground_glass)
    return (mean_entropy + iou / 2).mean()


def multi_class_loss(logits: torch.Tensor, labels: torch.Tensor, loss: str = "modern") -> torch.Tensor:
    """The loss of logits (N, C, H, W) for labels (N, H, W), 0 background.

    ``loss``: "paper" is cross-entropy alone; "modern" adds the weighted IoU of each finding, absent ones too, which
    keeps the rarer one alive; "paper-released-code" is the BCE of every class by itself.
    """
    one_hot = functional.one_hot(labels, logits.shape[1]).movedim(-1, 1).to(logits.dtype)
    if loss == "paper-released-code":
        return functional.binary_cross_entropy_with_logits(logits, one_hot)
    entropy = functional.cross_entropy(logits, labels)
    if loss == "paper":
        return entropy
    truth, probability = one_hot[:, 1:], torch.softmax(logits, 1)[:, 1:]
    return entropy + weighted_iou(probability, truth, pixel_weights(truth)).mean()
