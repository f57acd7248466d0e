"""Fixtures of the tests that run Slicer modules in the test host."""

import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]


@pytest.fixture(scope="session", autouse=True)
def cacheOfTheTests(tmp_path_factory):
    """What the backend keeps between runs is not kept in the home of who runs the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def startedHost():
    import slicerhost

    return slicerhost.start()


@pytest.fixture
def host(startedHost):
    """The host with an empty scene. An exception in a slot or an observer fails the test."""
    startedHost.clearScene()
    startedHost.errors.clear()
    yield startedHost
    startedHost.clearScene()
    assert not startedHost.errors, "\n".join(startedHost.errors)


@pytest.fixture
def fakeBackend():
    """The command that starts the scripted fake backend in a scenario (slicerhost/fakebackend.py)."""
    script = REPOSITORY / "Testing/slicerhost/fakebackend.py"
    return lambda scenario: [sys.executable, str(script), scenario]
