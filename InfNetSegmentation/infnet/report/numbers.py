"""Numbers as a report writes them: one decimal, the minus sign, a dash for what there is not."""

DASH = "\N{EN DASH}"


def signed(text: str) -> str:
    """With the minus sign in place of the hyphen."""
    return text.replace("-", "\N{MINUS SIGN}")


def number(value: float | None) -> str:
    """One decimal; what is there but would round to nothing is not called nothing."""
    if value is None:
        return DASH
    if 0 < value < 0.05:
        return "<0.1"
    return signed(f"{value:.1f}")


def difference(value: float | None) -> str:
    """One decimal with the sign of a rise or a fall."""
    if value is None:
        return DASH
    return signed(f"{value:+.1f}") if abs(value) >= 0.05 else "0.0"


def percent(value: float | None) -> str:
    return DASH if value is None else f"{number(value)} %"


def hounsfield(mean: float | None, sd: float | None) -> str:
    """Mean ± standard deviation, whole HU; a single voxel has no deviation."""
    if mean is None:
        return DASH
    return signed(f"{round(mean)}" if sd is None else f"{round(mean)} ± {round(sd)}")
