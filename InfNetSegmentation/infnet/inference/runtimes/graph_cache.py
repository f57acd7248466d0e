"""Converted graphs, kept between runs: to build a network and to convert it takes longer than to read the result.

A file a graph, ``SHA-256, length of the XML (8 bytes), XML, weights``, in a folder of the user's that nobody else can
write into; where there is none, nothing is kept. A graph's name is the SHA-256 of all that it depends on.
"""

import hashlib
import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import infnet
from infnet.data.files import written_whole
from infnet.errors import OutputError

Graph = tuple[bytes, bytes]
"""OpenVINO's XML, and its weights."""

_KEPT = 6  # files, of some 45 MB; those used last
_SOURCES = ("networks", "inference/runtimes")


def graph_file(content: Mapping[str, Any]) -> Path | None:
    """Where the graph of this content (plain JSON) and of this version of the code is kept; None where it cannot be."""
    folder = _folder()
    text = json.dumps([content, _code()], sort_keys=True)
    return folder and folder / f"{hashlib.sha256(text.encode()).hexdigest()}.graph"


def read_graph(file: Path) -> Graph | None:
    """The graph, or None where there is none or it is damaged."""
    try:
        data = file.read_bytes()
        os.utime(file)
    except OSError:
        return None
    checksum, rest = data[:32], memoryview(data)[32:]
    if hashlib.sha256(rest).digest() != checksum:
        return None
    end = 8 + int.from_bytes(rest[:8], "little")
    return bytes(rest[8:end]), bytes(rest[end:])


def keep_graph(graph: Graph, file: Path) -> None:
    """Keep it, if it can be, in place of the one that was not used for the longest time."""
    rest = b"".join((len(graph[0]).to_bytes(8, "little"), *graph))
    with suppress(OSError, OutputError):
        with written_whole(file) as temporary:
            temporary.write_bytes(hashlib.sha256(rest).digest() + rest)
        others = sorted(file.parent.glob("*.graph"), key=lambda other: other.stat().st_mtime)
        for old in others[:-_KEPT]:
            old.unlink()


def _folder() -> Path | None:
    """The folder, made where there is none; None if others could write into it."""
    with suppress(OSError, RuntimeError):  # RuntimeError: no home
        base = os.environ.get("XDG_CACHE_HOME") or os.environ.get("LOCALAPPDATA") or Path.home() / ".cache"
        folder = Path(base, "infnet", "graphs")
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = folder.stat()
        if sys.platform == "win32" or (status.st_uid == os.getuid() and not status.st_mode & 0o022):
            return folder
    return None


@cache
def _code() -> str:
    """SHA-256 of what networks and their conversion are made with."""
    digest = hashlib.sha256(infnet.__version__.encode())
    for path in _sources():
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _sources() -> Iterator[Path]:
    for folder in _SOURCES:
        yield from sorted((Path(infnet.__file__).parent / folder).glob("*.py"))
