"""Where the time of a job goes."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

Seconds = dict[str, float]
"""Of the clock, by stage."""


@contextmanager
def timed(seconds: Seconds, stage: str) -> Iterator[None]:
    """Add the duration of the block to that of its stage."""
    start = time.perf_counter()
    yield
    seconds[stage] = seconds.get(stage, 0.0) + time.perf_counter() - start
