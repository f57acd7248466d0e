"""What the backend writes, line by line, and the events of infnet/reporting.py in it."""

import json

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
    """The complete lines that were added to a growing file since the last look."""

    def __init__(self, path):
        self._file = path.open("rb")
        self._rest = b""

    def read(self, last):
        *lines, self._rest = (self._rest + self._file.read()).split(b"\n")
        if last and self._rest:
            lines.append(self._rest)
        return [line.decode(errors="replace").rstrip() for line in lines]

    def close(self):
        self._file.close()
