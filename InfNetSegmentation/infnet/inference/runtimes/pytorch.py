"""PyTorch as a runtime, on the CPU, on CUDA and on MPS."""

import numpy as np
import torch
from torch import nn

from infnet.inference.runtimes.probabilities import FloatImages, Probabilities

_AUTOCAST = {"32": None, "bf16": torch.bfloat16, "16": torch.float16}


class TorchRuntime:
    """A module run operation by operation, its convolutions on channels-last tensors.

    ``precision`` is one of `infnet.devices.choose_precision`. The module is moved to ``device`` when asked.
    """

    def __init__(self, module: nn.Module, device: str, precision: str) -> None:
        self._module = module.to(memory_format=torch.channels_last)
        self.use(device, precision)

    def use(self, device: str, precision: str) -> None:
        """Go on there, with that precision."""
        self._device, self._dtype = torch.device(device), _AUTOCAST[precision]

    @torch.inference_mode()
    def __call__(self, *images: FloatImages) -> Probabilities:
        """Probabilities, of images (N, 1, S, S)."""
        with torch.inference_mode(False):  # the weights stay ordinary tensors; mostly they are there already
            module = self._module.to(self._device)
        there = [to_device(torch.from_numpy(np.ascontiguousarray(image)), self._device) for image in images]
        with (
            torch.autocast(self._device.type, self._dtype, enabled=self._dtype is not None),
            # By itself cuDNN rounds the factors of float32 convolutions to TF32, which changed probabilities by 2e-3.
            torch.backends.cudnn.flags(enabled=True, allow_tf32=False),
        ):
            answer = module(*there)
        return Probabilities(*(None if x is None else x.cpu().numpy() for x in answer))


def to_device(image: torch.Tensor, device: torch.device) -> torch.Tensor:
    """An image of the CPU on ``device``; to CUDA from pinned memory, which is copied while the CPU goes on."""
    if device.type == "cuda":
        return image.pin_memory().to(device, non_blocking=True)
    return image.to(device)
