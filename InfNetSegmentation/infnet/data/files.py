"""Files that are written whole or not at all."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from infnet.errors import OutputError


def check_output(path: Path, endings: Sequence[str]) -> None:
    """Raise `OutputError` if a file cannot be written to ``path`` later, or has none of the ``endings``."""
    if not path.name.lower().endswith(tuple(endings)):
        raise OutputError(f"{path}: the file name must end in {', '.join(endings)}.")
    if not path.parent.is_dir():
        raise OutputError(f"{path}: there is no folder {path.parent}.")
    if path.is_dir():
        raise OutputError(f"{path} is a folder; name a file.")
    if not os.access(path.parent, os.W_OK):
        raise OutputError(f"{path}: the folder {path.parent} cannot be written to.")


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """A temporary path beside ``path``, of the same ending, that becomes ``path`` if the block succeeds.

    Raises `OutputError` if the block or the renaming fails with an operating system's or SimpleITK's error. The
    temporary file is removed in any case.
    """
    temporary = path.with_name(f".{os.getpid()}-{path.name}")
    try:
        yield temporary
        temporary.replace(path)
    except (OSError, RuntimeError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error).strip().splitlines()[-1]
        raise OutputError(f"{path} cannot be written: {reason}.") from error
    finally:
        temporary.unlink(missing_ok=True)
