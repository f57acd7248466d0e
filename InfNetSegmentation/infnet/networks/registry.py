"""Networks by name, as model cards and the command line call them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from torch import nn

from infnet.errors import InvalidModelError
from infnet.networks import baselines
from infnet.networks.inf_net import InfNet
from infnet.networks.multi_class_unet import InfectionGuidedUNet, MultiClassUNet


@dataclass(frozen=True)
class NetworkSpec:
    """A network that can be built by its name.

    A network for the infection maps (N, 3, H, W) to `InfNetMaps`; one for the findings maps image and prior,
    (N, 3, H, W) each, to the logits of background, ground glass and consolidation (N, 3, H, W). All inputs are
    ImageNet-normalised (`infnet.networks.normalisation`), H and W 32 or more.
    """

    name: str
    task: Literal["infection", "findings"]
    build: Callable[..., nn.Module]
    """Takes the network's options, all of which have defaults."""
    guided: bool
    """Whether a network for the findings looks at the prior, the infection map."""
    summary: str
    """One line; where a library's network stands for the paper's, which."""
    reference: str


NETWORKS: Mapping[str, NetworkSpec] = {
    spec.name: spec
    for spec in (
        NetworkSpec(
            "inf-net",
            "infection",
            InfNet,
            guided=False,
            summary="partial decoder, edge attention and reverse attention on any encoder",
            reference="Fan et al., IEEE TMI 2020",
        ),
        NetworkSpec(
            "unet",
            "infection",
            baselines.unet,
            guided=False,
            summary="MONAI's BasicUNet, 32 to 512 channels",
            reference="Ronneberger et al., MICCAI 2015",
        ),
        NetworkSpec(
            "unet++",
            "infection",
            baselines.unet_plus_plus,
            guided=False,
            summary="MONAI's BasicUNetPlusPlus, 32 to 512 channels",
            reference="Zhou et al., DLMIA 2018",
        ),
        NetworkSpec(
            "attention-unet",
            "infection",
            baselines.attention_unet,
            guided=False,
            summary="MONAI's AttentionUnet, 32 to 512 channels",
            reference="Oktay et al., MIDL 2018",
        ),
        NetworkSpec(
            "gated-unet",
            "infection",
            baselines.gated_unet,
            guided=False,
            summary="attention gates on the coarser grid, scores of four levels, 32 to 512 channels",
            reference="Schlemper et al., Medical Image Analysis 2019",
        ),
        NetworkSpec(
            "dense-unet",
            "infection",
            baselines.dense_unet,
            guided=False,
            summary="segmentation-models-pytorch's Unet on DenseNet-161",
            reference="Li et al., IEEE TMI 2018",
        ),
        NetworkSpec(
            "deeplabv3+-s8",
            "findings",
            partial(baselines.deeplabv3_plus, output_stride=8),
            guided=False,
            summary="segmentation-models-pytorch's DeepLabV3Plus on ResNet-50, output stride 8",
            reference="Chen et al., ECCV 2018",
        ),
        NetworkSpec(
            "deeplabv3+-s16",
            "findings",
            partial(baselines.deeplabv3_plus, output_stride=16),
            guided=False,
            summary="the same, output stride 16",
            reference="Chen et al., ECCV 2018",
        ),
        NetworkSpec(
            "fcn8s",
            "findings",
            baselines.fcn8s,
            guided=False,
            summary="FCN-8s on torchvision's VGG-16",
            reference="Long et al., CVPR 2015",
        ),
        NetworkSpec(
            "multi-class-unet",
            "findings",
            MultiClassUNet,
            guided=False,
            summary="U-Net on the image alone, otherwise that of infection-guided-unet",
            reference="Ronneberger et al., MICCAI 2015",
        ),
        NetworkSpec(
            "infection-guided-fcn8s",
            "findings",
            partial(baselines.fcn8s, guided=True),
            guided=True,
            summary="FCN-8s on image and infection map, the paper's Semi-Inf-Net & FCN8s",
            reference="Fan et al., IEEE TMI 2020",
        ),
        NetworkSpec(
            "infection-guided-unet",
            "findings",
            InfectionGuidedUNet,
            guided=True,
            summary="U-Net on image and infection map, the paper's Semi-Inf-Net & MC",
            reference="Fan et al., IEEE TMI 2020",
        ),
    )
}


def build_network(name: str, options: Mapping[str, Any]) -> nn.Module:
    """The network ``name`` with its ``options``, randomly initialised.

    Raises ValueError for an unknown name or option value, TypeError for an unknown option, InvalidModelError where
    a library that the network comes from is not installed.
    """
    if name not in NETWORKS:
        raise ValueError(f"No network '{name}'; there are {', '.join(NETWORKS)}.")
    try:
        return NETWORKS[name].build(**options)
    except KeyError as error:  # segmentation-models-pytorch, of an encoder
        raise ValueError(error.args[0]) from error
    except ModuleNotFoundError as error:
        raise InvalidModelError(f"Network {name} needs the package {error.name}: pip install {error.name}.") from error
