"""Batch normalisation folded into the convolution before it, in networks of any build."""

import copy
from collections import Counter
from typing import Any

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torch.utils.hooks import RemovableHandle

_TOLERANCE = 1e-3  # of a probability; what rounding makes of the folding is a hundred times less


class NotFoldableError(Exception):
    """A network says something else when its batch normalisation is folded."""


@torch.no_grad()
def fold_batch_norms(module: nn.Module, *inputs: torch.Tensor) -> nn.Module:
    """A copy of ``module``, in evaluation mode, without the batch normalisations that read a convolution's output.

    Which convolution that is, is seen in one run on ``inputs``: networks that branch on their input's size cannot be
    traced symbolically. ``module`` returns a tuple of tensors and None. Raises `NotFoldableError` where the copy
    answers otherwise, as it does where a convolution's output has a second reader.
    """
    if not any(isinstance(child, nn.BatchNorm2d) for child in module.modules()):
        return module
    folded = copy.deepcopy(module).eval()
    for conv_name, norm_name in _pairs(folded, *inputs):
        conv, norm = folded.get_submodule(conv_name), folded.get_submodule(norm_name)
        assert isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d)
        folded.set_submodule(conv_name, fuse_conv_bn_eval(conv, norm))
        # timm's batch normalisations have the activation in them.
        folded.set_submodule(norm_name, getattr(norm, "act", nn.Identity()))
    for expected, answer in zip(module(*inputs), folded(*inputs), strict=True):
        if expected is not None and not torch.allclose(expected, answer, rtol=0, atol=_TOLERANCE):
            raise NotFoldableError("it answers otherwise with its batch normalisation folded.")
    return folded


def _pairs(module: nn.Module, *inputs: torch.Tensor) -> list[tuple[str, str]]:
    """Names of convolutions and of the batch normalisations that read their output; only those that run once."""
    names = {child: name for name, child in module.named_modules()}
    runs: Counter[nn.Module] = Counter()
    # By identity of the output, and by version: an activation in place leaves another value in the same tensor. The
    # output is kept, or another tensor could take its place.
    makers: dict[int, tuple[nn.Module, torch.Tensor, int]] = {}
    pairs: list[tuple[nn.Module, nn.Module]] = []

    def note_output(convolution: nn.Module, _: Any, output: torch.Tensor) -> None:
        runs[convolution] += 1
        makers[id(output)] = (convolution, output, output._version)

    def note_input(norm: nn.Module, arguments: tuple[torch.Tensor, ...]) -> None:
        runs[norm] += 1
        convolution, _, version = makers.get(id(arguments[0]), (None, None, -1))
        if convolution is not None and arguments[0]._version == version:
            pairs.append((convolution, norm))

    hooks: list[RemovableHandle] = []
    for child in names:
        if isinstance(child, nn.Conv2d):
            hooks.append(child.register_forward_hook(note_output))
        elif isinstance(child, nn.BatchNorm2d):
            hooks.append(child.register_forward_pre_hook(note_input))
    try:
        module(*inputs)
    finally:
        for hook in hooks:
            hook.remove()
    return [(names[conv], names[norm]) for conv, norm in pairs if runs[conv] == runs[norm] == 1]
