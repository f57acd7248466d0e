"""Checkpoints of the original code, for those who have them: their tensors under the names of this package.

The original infection networks differ from `InfNet` in nothing but names, the original multi-class U-Net from
`InfectionGuidedUNet` in names and in the order of its three outputs.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from infnet.errors import InvalidModelError
from infnet.networks.registry import build_network

State = dict[str, torch.Tensor]

# In checkpoints, but used by no forward pass: ImageNet's classifier, and the second branch of the VGG encoder.
_UNUSED = re.compile(r"resnet\.fc\.|vgg\.conv[45]_2\.")

_INF_NET: Mapping[str, str] = {
    "resnet": "encoder.body",
    "vgg.conv1.conv1_1": "encoder.levels.0.0",
    "vgg.conv1.conv1_2": "encoder.levels.0.2",
    "vgg.conv2.conv2_1": "encoder.levels.0.5",
    "vgg.conv2.conv2_2": "encoder.levels.0.7",
    "vgg.conv3.conv3_1": "encoder.levels.1.10",
    "vgg.conv3.conv3_2": "encoder.levels.1.12",
    "vgg.conv3.conv3_3": "encoder.levels.1.14",
    "vgg.conv4_1.conv4_1_1": "encoder.levels.2.17",
    "vgg.conv4_1.conv4_2_1": "encoder.levels.2.19",
    "vgg.conv4_1.conv4_3_1": "encoder.levels.2.21",
    "vgg.conv5_1.conv5_1_1": "encoder.levels.3.24",
    "vgg.conv5_1.conv5_2_1": "encoder.levels.3.26",
    "vgg.conv5_1.conv5_3_1": "encoder.levels.3.28",
    "rfb2_1": "rfb3",
    "rfb3_1": "rfb4",
    "rfb4_1": "rfb5",
    "ParDec.conv_upsample1": "partial_decoder.gate_4_by_5",
    "ParDec.conv_upsample2": "partial_decoder.gate_3_by_5",
    "ParDec.conv_upsample3": "partial_decoder.gate_3_by_4",
    "ParDec.conv_upsample4": "partial_decoder.lift_5",
    "ParDec.conv_upsample5": "partial_decoder.lift_4",
    "ParDec.conv_concat2": "partial_decoder.merge_4",
    "ParDec.conv_concat3": "partial_decoder.merge_3",
    "ParDec.conv4": "partial_decoder.refine",
    "ParDec.conv5": "partial_decoder.predict",
    "ra4_conv1": "reverse_attention5.reduce",
    "ra4_conv2": "reverse_attention5.refine.0",
    "ra4_conv3": "reverse_attention5.refine.2",
    "ra4_conv4": "reverse_attention5.refine.4",
    "ra4_conv5": "reverse_attention5.predict",
    "ra3_conv1": "reverse_attention4.reduce",
    "ra3_conv2": "reverse_attention4.refine.0",
    "ra3_conv3": "reverse_attention4.refine.2",
    "ra3_conv4": "reverse_attention4.predict",
    "ra2_conv1": "reverse_attention3.reduce",
    "ra2_conv2": "reverse_attention3.refine.0",
    "ra2_conv3": "reverse_attention3.refine.2",
    "ra2_conv4": "reverse_attention3.predict",
    "edge_conv1": "edge_attention.features.0",
    "edge_conv2": "edge_attention.features.1",
    "edge_conv3": "edge_attention.features.2",
    "edge_conv4": "edge_attention.predict",
}
# Below those, in the receptive field blocks and in every convolution with its normalisation.
_INF_NET_INNER: Mapping[str, str] = {
    r"\.branch0\.0\.": ".branches.0.",
    r"\.branch([123])\.": r".branches.\1.",
    r"\.conv_cat\.": ".merge.",
    r"\.conv_res\.": ".shortcut.",
    r"\.conv\.": ".0.",
    r"\.bn\.": ".1.",
}

_U_NET: Mapping[str, str] = {
    "inc.double_conv": "first",
    **{f"down{i}.maxpool_conv.1.double_conv": f"down.{i - 1}.1" for i in range(1, 5)},
    **{f"up{i}.conv.double_conv": f"up.{i - 1}" for i in range(1, 5)},
    "outc.conv": "predict",
}
# The original's outputs are ground glass, consolidation and background.
_OUTPUT_ORDER = [2, 0, 1]


class OfficialCheckpoint(NamedTuple):
    """A network from a checkpoint of the original code, with its name and options for `build_network`."""

    name: str
    options: dict[str, Any]
    network: nn.Module


def load_official_checkpoint(path: Path | str) -> nn.Module:
    """The network of a checkpoint of the original code, in evaluation mode, on the CPU.

    Inf-Net on Res2Net-50, ResNet-50 or VGG-16 becomes an `InfNet`, the multi-class U-Net an `InfectionGuidedUNet`
    (whose outputs are in our order: background, ground glass, consolidation). Any of torch's formats is read; data
    only, never code. Raises InvalidModelError for a file that is damaged, holds code or is not such a checkpoint.
    """
    return read_official_checkpoint(path).network


def read_official_checkpoint(path: Path | str) -> OfficialCheckpoint:
    """The same, with the name and options under which the network is built."""
    path = Path(path)
    theirs = _read(path)
    name, options = _identify(path, theirs)
    table = _INF_NET if name == "inf-net" else _U_NET
    names = {key: _our_name(key, table) for key in theirs if not _UNUSED.match(key)}
    network = build_network(name, options)
    _refuse_differences(path, theirs, names, network.state_dict())
    state = {ours: theirs[key] for key, ours in names.items() if ours}
    if name == "infection-guided-unet":
        for key in ("predict.weight", "predict.bias"):
            state[key] = state[key][_OUTPUT_ORDER]
    try:
        network.load_state_dict(state)
    except RuntimeError as error:  # sparse or quantised tensors, say
        raise InvalidModelError(f"{path}: its tensors are not those of a network ({error}).") from error
    return OfficialCheckpoint(name, options, network.eval())


def _read(path: Path) -> State:
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise InvalidModelError(f"{path}: {error.strerror or error}.") from error
    except Exception as error:  # damaged files raise errors of many kinds
        raise InvalidModelError(
            f"{path}: not a checkpoint of tensors. It is damaged, or holds code, which is never run: save the "
            "network's state_dict() alone."
        ) from error
    if not isinstance(state, dict) or not all(
        isinstance(key, str) and isinstance(value, torch.Tensor) for key, value in state.items()
    ):
        raise InvalidModelError(f"{path}: not a state_dict, a dictionary of tensors.")
    if all(key.startswith("module.") for key in state):  # of a network in DataParallel
        state = {key.removeprefix("module."): value for key, value in state.items()}
    return dict(state)


def _identify(path: Path, state: State) -> tuple[str, dict[str, Any]]:
    for key, name, options in (
        ("resnet.layer1.0.convs.0.weight", "inf-net", {"encoder": "res2net50"}),
        ("resnet.layer1.0.conv2.weight", "inf-net", {"encoder": "resnet50"}),
        ("vgg.conv1.conv1_1.weight", "inf-net", {"encoder": "vgg16_average"}),
        ("inc.double_conv.0.weight", "infection-guided-unet", {"base_channels": 64}),
    ):
        if key in state:
            return name, options
    raise InvalidModelError(
        f"{path}: neither Inf-Net nor the multi-class U-Net of the original code. Models of this package are used "
        "as they are, by the path of their card."
    )


def _our_name(key: str, table: Mapping[str, str]) -> str | None:
    for theirs, ours in table.items():
        if key.startswith(theirs + "."):
            inner = key.removeprefix(theirs)
            if theirs != "resnet":
                for pattern, replacement in _INF_NET_INNER.items():
                    inner = re.sub(pattern, replacement, inner)
            return ours + inner
    return None


def _refuse_differences(path: Path, theirs: State, names: Mapping[str, str | None], reference: State) -> None:
    known = {key: ours for key, ours in names.items() if ours in reference}
    problems = {
        "missing (our names)": [ours for ours in reference if ours not in known.values()],
        "unexpected": [key for key in names if key not in known],
        "of another shape": [
            f"{key} {tuple(theirs[key].shape)}"
            for key, ours in known.items()
            if theirs[key].shape != reference[ours].shape
        ],
    }
    if any(problems.values()):
        told = "; ".join(f"{what}: {_some(keys)}" for what, keys in problems.items() if keys)
        raise InvalidModelError(f"{path}: not a whole checkpoint of the original network. Tensors {told}.")


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
