"""Networks: Inf-Net's own modules, its encoders, and the infection-guided multi-class network."""

from infnet.networks.inf_net import InfNet, InfNetMaps
from infnet.networks.infection_guided_unet import InfectionGuidedUNet
from infnet.networks.registry import NETWORKS, build_network

__all__ = ["NETWORKS", "InfNet", "InfNetMaps", "InfectionGuidedUNet", "build_network"]
