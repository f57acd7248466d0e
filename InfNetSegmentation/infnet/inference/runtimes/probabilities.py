"""What a runtime answers."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

FloatImages = NDArray[np.float32]

GRAPH_FIELDS = ["infnet", "fields"]
"""Where a converted graph says which fields of `Probabilities` its outputs are."""


class Probabilities(NamedTuple):
    """Means or single answers, float32: maps (N, 1, S, S), and the gate (N,); None for what a model does not say."""

    infection: FloatImages | None = None
    consolidation: FloatImages | None = None
    gate: FloatImages | None = None
