"""A predictor without networks: infection is where the grey value is that of the phantom's lesions."""

from dataclasses import dataclass

import numpy as np
from infnet.inference.slices import SliceLook, SlicePrediction
from phantoms import CONSOLIDATION_HU, GGO_HU

LOOK = SliceLook()


@dataclass
class BandPredictor:
    """Stands for the networks: grey values of the phantom's lesions are infected, the brighter ones consolidation."""

    batch_size: int = 4
    threshold: float = 0.5
    window: tuple[float, float] = LOOK.window
    warnings: tuple[str, ...] = ()

    def __post_init__(self):
        self.seen = []

    def __call__(self, slices, neighbours=1):
        batch = []
        for slice_ in slices:
            self.seen.append(slice_)
            batch.append(slice_)
            if len(batch) == self.batch_size:
                yield from map(self.predict, batch)
                batch = []
        yield from map(self.predict, batch)

    @staticmethod
    def predict(slice_):
        ggo, consolidation = (abs(slice_ - grey(hu)) < 1e-4 for hu in (GGO_HU, CONSOLIDATION_HU))
        return SlicePrediction(
            np.where(ggo | consolidation, np.float32(0.9), np.float32(0.1)), consolidation.astype(np.float32)
        )


def grey(hu):
    return float(LOOK.render(np.array([[hu]]))[0, 0])
