"""What the backend's tests share."""

import sys
from pathlib import Path

import pytest
from toyslices import make_slices

# OpenVINO tells Google Analytics of its use, and takes seconds for it, where a test imports it before its runtime does.
sys.modules.setdefault("openvino_telemetry", None)

SHARED_DATA = Path(__file__).resolve().parents[3] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data():
    """The folder of development data that may not be distributed, beside the checkout."""
    if not SHARED_DATA.is_dir():
        pytest.skip("the development data (../shared/data) is not on this machine; its licences forbid copies")
    return SHARED_DATA


@pytest.fixture(scope="session")
def covid_semiseg(shared_data):
    return shared_data / "covid-semiseg"


@pytest.fixture
def toy_slices(tmp_path):
    return make_slices(tmp_path / "slices")
