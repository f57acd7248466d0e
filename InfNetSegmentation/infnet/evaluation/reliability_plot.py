"""The picture of a reliability curve."""

from pathlib import Path
from typing import Any

from matplotlib.figure import Figure


def draw(reliability: dict[str, Any], path: Path) -> None:
    """Draw a reliability curve (`Reliability.as_dict`) and the pixels of each bin into a file that matplotlib knows."""
    figure = Figure(figsize=(4.5, 5.5), layout="constrained")
    curve, counts = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    bins = reliability["bins"]
    curve.plot([0, 1], [0, 1], color="0.6", linestyle="--", label="perfectly calibrated")
    curve.plot(
        [b["mean_probability"] for b in bins],
        [b["observed_frequency"] for b in bins],
        marker="o",
        label=f"ECE {reliability['expected_calibration_error']:.3f}, Brier {reliability['brier']:.3f}",
    )
    curve.set(xlim=(0, 1), ylim=(0, 1), ylabel="share of pixels that are infected")
    curve.legend(loc="upper left")
    widths = [b["to"] - b["from"] for b in bins]
    counts.bar([b["from"] for b in bins], [b["pixels"] for b in bins], widths, align="edge", edgecolor="white")
    counts.set(yscale="log", xlabel="predicted probability of infection", ylabel="pixels")
    figure.savefig(path)
