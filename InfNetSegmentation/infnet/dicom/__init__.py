"""DICOM objects of a result: segmentations (SEG) and a measurement report (SR), by highdicom."""

from infnet.errors import MissingPackageError


def require_highdicom() -> None:
    """Raise `MissingPackageError` where the modules of this package cannot be imported."""
    try:
        import highdicom  # noqa: F401
    except ImportError as error:
        raise MissingPackageError(
            "DICOM segmentations and reports need the package highdicom: pip install highdicom pydicom"
        ) from error
