"""One exception class per cause that a user can act on.

``code`` names the cause in the JSON protocol, ``exit_status`` is the exit status of the command line. Every
message names the file or value at fault and the remedy.
"""

from typing import ClassVar

_OUT_OF_MEMORY = (  # in lower case; the first is torch's class, without torch
    "outofmemoryerror",
    "out of memory",
    "not enough memory",
    "allocate memory",
    "bad_alloc",
    "alloc_failed",
    "start new thread",  # whose stack there is no memory for
    "unable to join thread",
)


class InfNetError(Exception):
    """Base of every error that is told to the user in one line."""

    code: ClassVar[str] = "error"
    exit_status: ClassVar[int] = 1


class InputError(InfNetError):
    """The input cannot be used."""

    code = "input"
    exit_status = 3


class InputNotFoundError(InputError):
    """A named file or folder does not exist."""

    code = "input-not-found"


class UnreadableImageError(InputError):
    """A file is not an image, or is damaged."""

    code = "unreadable-image"


class NotAVolumeError(InputError):
    """The image is not a three-dimensional, single-channel volume of two slices or more."""

    code = "not-a-volume"


class IntensityError(InputError):
    """Voxel values are not finite, or cannot be Hounsfield units."""

    code = "intensity"


class GeometryError(InputError):
    """An image does not lie on the grid that it belongs to."""

    code = "geometry"


class InvalidStudyError(InputError):
    """A folder is not a finished study."""

    code = "invalid-study"


class NoLungError(InputError):
    """No lung was found in the CT."""

    code = "no-lung"
    exit_status = 4


class AtlasError(InputError):
    """The lobe atlas cannot be fitted to the lungs."""

    code = "atlas"


class MissingPackageError(InfNetError):
    """A Python package that only this command or option needs is not installed."""

    code = "missing-package"
    exit_status = 8


class UnavailableWeightsError(InfNetError):
    """The weights of another package cannot be downloaded."""

    code = "unavailable-weights"
    exit_status = 8


class ToolError(InfNetError):
    """Another program that was asked for failed."""

    code = "tool"
    exit_status = 8


class DivergedError(InfNetError):
    """A training's loss is no number any more."""

    code = "diverged"
    exit_status = 9


class UnknownModelError(InfNetError):
    """No model of that name or path."""

    code = "unknown-model"
    exit_status = 5


class InvalidModelError(InfNetError):
    """A model's weights or card are damaged, or do not fit each other."""

    code = "invalid-model"
    exit_status = 5


class DeviceError(InfNetError):
    """The requested device is not available."""

    code = "device"
    exit_status = 6


class OutOfMemoryError(InfNetError):
    """Neither the device nor the host has the memory for even one slice."""

    code = "out-of-memory"
    exit_status = 6


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that memory is short: but for CUDA, ITK and PyTorch have no class of their own for it."""
    told = f"{type(error).__name__}: {error}".lower()
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and any(words in told for words in _OUT_OF_MEMORY)
    )


class OutputError(InfNetError):
    """The output cannot be written."""

    code = "output"
    exit_status = 7


class CancelledError(InfNetError):
    """The user asked to stop."""

    code = "cancelled"
    exit_status = 130


class ReviewPause(CancelledError):
    """A training waits until a person has looked at its pseudo-labels, as was asked for."""

    code = "review"
