"""PyTorch as a runtime, on the CPU, on CUDA and on MPS."""

import torch
from torch import nn

from infnet.inference.runtimes.probabilities import Probabilities


class TorchRuntime:
    """A module run operation by operation, its convolutions on channels-last tensors.

    ``dtype`` is that of mixed precision; None is float32 throughout. The module is moved to ``device`` when asked.
    """

    def __init__(self, module: nn.Module, device: torch.device, dtype: torch.dtype | None) -> None:
        self._module = module.to(memory_format=torch.channels_last)
        self.use(device, dtype)

    def use(self, device: torch.device, dtype: torch.dtype | None) -> None:
        """Go on there, with that type."""
        self._device, self._dtype = device, dtype

    @torch.inference_mode()
    def __call__(self, *images: torch.Tensor) -> Probabilities:
        """Probabilities on the CPU, of images on the CPU."""
        with torch.inference_mode(False):  # the weights stay ordinary tensors; mostly they are there already
            module = self._module.to(self._device)
        there = [to_device(image, self._device) for image in images]
        with (
            torch.autocast(self._device.type, self._dtype, enabled=self._dtype is not None),
            # By itself cuDNN rounds the factors of float32 convolutions to TF32, which changed probabilities by 2e-3.
            torch.backends.cudnn.flags(enabled=True, allow_tf32=False),
        ):
            answer: Probabilities = module(*there)
        return Probabilities(*(None if x is None else x.cpu() for x in answer))


def to_device(image: torch.Tensor, device: torch.device) -> torch.Tensor:
    """An image of the CPU on ``device``; to CUDA from pinned memory, which is copied while the CPU goes on."""
    if device.type == "cuda":
        return image.pin_memory().to(device, non_blocking=True)
    return image.to(device)
