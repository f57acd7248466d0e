"""How far two masks are the same."""

import numpy as np


def dice(one, other):
    """2 |A ∩ B| / (|A| + |B|) of two boolean arrays that are not both empty."""
    return 2 * np.count_nonzero(one & other) / (np.count_nonzero(one) + np.count_nonzero(other))


def share(part, whole):
    """How much of ``whole`` is in ``part``, 0 to 1."""
    return np.count_nonzero(part & whole) / np.count_nonzero(whole)
