"""What a network costs, counted without its weights being made."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch.utils.flop_counter import FlopCounterMode

from infnet.networks.registry import NETWORKS, build_network


class Cost(NamedTuple):
    parameters: int
    gmacs: float
    """Billions of multiplications with addition for one image; convolutions and linear layers only."""


def network_cost(name: str, options: Mapping[str, Any], size: int = 352) -> Cost:
    """The cost of the network ``name`` for one image of ``size``×``size`` pixels.

    Raises what `build_network` raises.
    """
    inputs = 1 if NETWORKS[name].task == "infection" else 2
    with torch.device("meta"), torch.no_grad(), FlopCounterMode(display=False) as counter:
        network = build_network(name, options).eval()
        network(*[torch.empty(1, 3, size, size)] * inputs)
    parameters = sum(p.numel() for p in network.parameters())
    return Cost(parameters, counter.get_total_flops() / 2 / 1e9)
