"""What a network that finds infection returns."""

from collections.abc import Callable
from typing import NamedTuple

import torch


class InfNetMaps(NamedTuple):
    """Logits at the size of the input, (N, 1, H, W) each; None for a map that the network does not have.

    The first five are the paper's maps in its order. Networks with one map alone, such as U-Net, return it as Sg.
    """

    Sg: torch.Tensor
    """The global map of the partial decoder."""
    S5: torch.Tensor | None = None
    S4: torch.Tensor | None = None
    S3: torch.Tensor | None = None
    """The last of reverse attention's maps, the paper's answer."""
    Se: torch.Tensor | None = None
    """The edge of the infection."""
    S2: torch.Tensor | None = None
    """One more level of reverse attention, which the paper does not have."""
    consolidation: torch.Tensor | None = None
    """That an infected pixel is consolidation rather than ground-glass opacity."""
    gate: torch.Tensor | None = None
    """(N,): that the slice shows infection at all."""

    @property
    def segmentations(self) -> tuple[torch.Tensor, ...]:
        """The maps of the infection that there are, from the coarsest, Sg, to the finest."""
        return tuple(s for s in (self.Sg, self.S5, self.S4, self.S3, self.S2) if s is not None)

    @property
    def infection(self) -> torch.Tensor:
        """Probability of infection in [0, 1], the network's answer: the sigmoid of its finest map."""
        return torch.sigmoid(self.segmentations[-1])

    def each(self, function: Callable[[torch.Tensor], torch.Tensor]) -> "InfNetMaps":
        """The result of ``function`` for every map that there is."""
        return InfNetMaps(*(None if s is None else function(s) for s in self))  # type: ignore[arg-type]
