"""Networks: Inf-Net, its encoders, the infection-guided multi-class network, and those they are compared with."""

from infnet.networks.inf_net import InfNet
from infnet.networks.maps import InfNetMaps
from infnet.networks.multi_class_unet import InfectionGuidedUNet, MultiClassUNet
from infnet.networks.official_checkpoints import load_official_checkpoint
from infnet.networks.registry import NETWORKS, NetworkSpec, build_network

__all__ = [
    "NETWORKS",
    "InfNet",
    "InfNetMaps",
    "InfectionGuidedUNet",
    "MultiClassUNet",
    "NetworkSpec",
    "build_network",
    "load_official_checkpoint",
]
