"""Names for ITK, which on Windows finds no file whose path has other letters than ASCII's (ITK's issue 6739)."""

import ctypes
import errno
import sys
from pathlib import Path

_UTF_8 = 65001
_LONGEST = 1 << 15


def itk_name(path: Path) -> str:
    """What ITK is to call a file or a folder, one that is there or one to be written.

    On Windows that is Windows' own short name of its folder ("C:/Users/JRGEN~1"), where the path has other letters than
    ASCII's. Raises OSError where the disk has no such names, or the file's own name has such letters.
    """
    if str(path).isascii() or _takes_any_letter():
        return str(path)
    folder = path if path.is_dir() else path.parent
    name = str(Path(_short_name(folder)) / path.relative_to(folder))  # short names keep no more than ".nrr" of ".nrrd"
    if not name.isascii():
        reason = "on Windows ITK finds only names and folders of ASCII letters; rename or move it"
        raise OSError(errno.EILSEQ, reason, str(path))
    return name


def _takes_any_letter() -> bool:
    """Whether the process's code page is UTF-8, as elsewhere than on Windows and in Slicer itself."""
    return sys.platform != "win32" or bool(ctypes.windll.kernel32.GetACP() == _UTF_8)


def _short_name(folder: Path) -> str:
    """Of at most 8 ASCII letters for each folder; the long name where the disk keeps no short ones."""
    if sys.platform == "win32":
        name = ctypes.create_unicode_buffer(_LONGEST)
        if ctypes.windll.kernel32.GetShortPathNameW(str(folder), name, _LONGEST):
            return name.value
    return str(folder)
