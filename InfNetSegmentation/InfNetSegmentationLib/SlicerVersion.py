"""Refuses versions of Slicer that lack what the modules need, before anything else of them is imported."""

import slicer

NEEDED = (5, 12)


def checkVersion(version):
    """Raises RuntimeError for a version (major, minor) that is too old."""
    if version < NEEDED:
        # Not translated: these versions may have no slicer.i18n.
        raise RuntimeError(
            f"Inf-Net needs 3D Slicer {NEEDED[0]}.{NEEDED[1]} or newer, and this is {version[0]}.{version[1]}. "
            "Install the newest stable version from slicer.org, and the extension in it."
        )


checkVersion((slicer.app.majorVersion, slicer.app.minorVersion))
