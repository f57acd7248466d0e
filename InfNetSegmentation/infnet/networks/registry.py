"""Networks by name, as model cards and the command line call them."""

from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from infnet.networks.inf_net import InfNet
from infnet.networks.infection_guided_unet import InfectionGuidedUNet

NETWORKS: Mapping[str, Callable[..., nn.Module]] = {
    "inf-net": InfNet,
    "infection-guided-unet": InfectionGuidedUNet,
}


def build_network(name: str, options: Mapping[str, Any]) -> nn.Module:
    """The network ``name`` with its constructor's ``options``, randomly initialised.

    Raises ValueError for an unknown name or option value, TypeError for an unknown option.
    """
    if name not in NETWORKS:
        raise ValueError(f"No network '{name}'; there are {', '.join(NETWORKS)}.")
    return NETWORKS[name](**options)
