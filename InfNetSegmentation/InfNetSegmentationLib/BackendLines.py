"""What the backend writes, line by line, and the events of infnet/reporting.py in it."""

import json
from contextlib import suppress

_EVENT_FIELDS = {
    "progress": {"stage": str, "done": int, "total": int},
    "message": {"text": str},
    "result": {},
    "error": {"code": str, "message": str},
}


def parseEvent(line):
    """The event (infnet/reporting.py) that a line of the backend's output tells, or None where it is none."""
    try:
        event = json.loads(line)
        fields = _EVENT_FIELDS[event["event"]]
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    return event if all(isinstance(event.get(name), kind) for name, kind in fields.items()) else None


class NewLines:
    """The complete lines that were added to a growing file since the last look.

    There are none while there is no such file. It is opened for each look: one of a network drive that was away for a
    moment cannot be read on.
    """

    def __init__(self, path):
        self._path = path
        self._size = 0
        self._rest = b""

    def read(self, last):
        added = b""
        with suppress(OSError), self._path.open("rb") as file:
            file.seek(self._size)
            added = file.read()
        self._size += len(added)
        *lines, self._rest = (self._rest + added).split(b"\n")
        if last and self._rest:
            lines.append(self._rest)
        return [line.decode(errors="replace").rstrip() for line in lines]
