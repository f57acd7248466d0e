"""What the backend prints, line by line: events, and anything else, which is log."""

import json
import sys

import pytest

EVENTS = [
    {"event": "progress", "stage": "infection", "done": 1, "total": 3},
    {"event": "message", "text": "Warning: „ü“"},
    {"event": "result", "output": "x"},
    {"event": "error", "code": "no-lung", "message": "No lung."},
]


@pytest.mark.parametrize("event", EVENTS)
def test_events_are_known(module, event):
    from InfNetSegmentationLib.BackendLines import parseEvent

    assert parseEvent(json.dumps(event)) == event


@pytest.mark.parametrize(
    "line",
    [
        "",
        "Loading weights",
        "3",
        "[]",
        '"event"',
        "{}",
        '{"event": []}',
        '{"event": {"event": "result"}}',
        '{"event": "unheard of"}',
        '{"event": "progress"}',
        '{"event": "progress", "stage": "a", "done": "1", "total": 3}',
        '{"event": "progress", "stage": "a", "done": 1e999, "total": 3}',
        '{"event": "message"}',
        '{"event": "error"}',
        '{"event": "error", "code": 3, "message": null}',
        "[" * 100_000,
    ],
)
def test_what_is_no_event_is_log(module, line):
    from InfNetSegmentationLib.BackendLines import parseEvent

    assert parseEvent(line) is None


@pytest.mark.parametrize("line", ['{"event": "error"}', '{"event": []}', "[" * 100_000, "\\0\\377"])
def test_a_run_that_prints_nonsense_ends_with_one_error(module, line):
    from InfNetSegmentationLib.BackendProcess import BackendProcess

    errors, messages = [], []
    program = f"print({line!r})"
    process = BackendProcess([sys.executable, "-c", program], onError=errors.append, onMessage=messages.append)
    process.start([], useTimer=False)
    process.wait()
    assert [error.code for error in errors] == ["crash"]
    assert messages == [line.rstrip()]
    assert not process.folder.exists()
