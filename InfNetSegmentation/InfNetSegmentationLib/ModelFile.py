"""A trained model as one file that another Slicer imports, and its way into InfNetSegmentation."""

import tempfile
import zipfile
import zlib
from pathlib import Path

from slicer.i18n import tr as _

from InfNetSegmentationLib.Models import copyModel, modelsFolder

_ENDINGS = (".json", ".safetensors")
_LARGEST_BYTES = 2 * 1024**3  # unpacked


def exportModel(cardPath, zipPath):
    """Write card and weights of a model into a zip file. Returns its path."""
    cardPath, zipPath = Path(cardPath), Path(zipPath)
    temporary = zipPath.with_name(f".{zipPath.name}")
    try:
        with zipfile.ZipFile(temporary, "w") as archive:  # weights do not get smaller
            for ending in _ENDINGS:
                path = cardPath.with_suffix(ending)
                archive.write(path, path.name)
        temporary.replace(zipPath)
    finally:
        temporary.unlink(missing_ok=True)
    return zipPath


def installModel(path, replace=False):
    """Copy a model to where InfNetSegmentation finds it. ``path``: its card, or a file of `exportModel`.

    Returns the new card's path. Raises ValueError for what is no model or is damaged, and FileExistsError for
    another one of that name, unless it shall be replaced.
    """
    path = Path(path)
    if path.suffix.lower() != ".zip":
        return _install(path, replace)
    with tempfile.TemporaryDirectory(prefix="infnet-") as folder:
        return _install(_unpack(path, Path(folder)), replace)


def _install(cardPath, replace):
    installed = modelsFolder() / cardPath.name
    if installed.is_file() and not replace and installed.read_bytes() != cardPath.read_bytes():
        raise FileExistsError(_("There is another model called {} already.").format(cardPath.stem))
    return copyModel(cardPath)


def _unpack(zipPath, folder):
    """Card and weights, and nothing else, wherever in the file they lie. Returns the card's path."""
    try:
        with zipfile.ZipFile(zipPath) as archive:
            members = [member for member in archive.infolist() if member.filename.endswith(_ENDINGS)]
            names = sorted(Path(member.filename).suffix for member in members)
            if names != sorted(_ENDINGS) or sum(member.file_size for member in members) > _LARGEST_BYTES:
                raise ValueError(_("{} does not hold one model: a card and its weights.").format(zipPath))
            for member in members:
                (folder / Path(member.filename).name).write_bytes(archive.read(member))
    # A RuntimeError tells of a password or an unknown compression, the others of damage.
    except (OSError, RuntimeError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(_("{} is not a readable zip file ({}).").format(zipPath, error)) from error
    return next(folder.glob("*.json"))
