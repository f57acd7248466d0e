"""What the tests of InfNetTraining share."""

import sys
from pathlib import Path

import pytest
from toyslices import make_slices

REPOSITORY = Path(__file__).parents[2]
MODULE = REPOSITORY / "InfNetTraining/InfNetTraining.py"


@pytest.fixture
def makeSlices():
    return make_slices


@pytest.fixture
def module(host):
    host.loadModule(REPOSITORY / "InfNetSegmentation/InfNetSegmentation.py")
    yield host.loadModule(MODULE)
    if host.qtProblem is None:  # what a panel has noted for the next Slicer is not for the next test
        import qt

        qt.QSettings().clear()


@pytest.fixture
def fakeTraining():
    """The command that starts the fake backend in a scenario (faketraining.py)."""
    script = Path(__file__).with_name("faketraining.py")
    return lambda scenario: [sys.executable, str(script), scenario]


@pytest.fixture(autouse=True)
def ownHome(tmp_path, monkeypatch):
    """Nothing of a test goes to the user's home, where installed models lie."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
