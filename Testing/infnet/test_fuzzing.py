"""A short, repeatable round of each fuzz target; python Testing/infnet/fuzzing.py goes on for as long as one likes."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from fuzzing import in_process


def test_damaged_inputs_are_refused_or_read():
    targets = [
        "nrrd",
        "mha",
        "nifti",
        "dicom",
        "enhanced dicom",
        "segmentation",
        "segmentation header",
        "bits of nrrd",
        "study",
    ]
    targets += ["slices.csv", "cases.csv", "round trip", "protocol", "lines"]
    result = in_process(targets, seed=0, examples=25, timeout_s=300)
    assert result.finding is None, result.finding
    assert all(result.executions[target] >= 20 for target in targets)


@pytest.mark.parametrize(
    ("check", "told"), [("ctypes.string_at(0)", ""), ("time.sleep(60)", "Timeout"), ("1 / 0", "ZeroDivisionError")]
)
def test_a_crash_a_hang_and_a_wrong_answer_are_findings(check, told):
    """The fuzzer on readers that are known to be bad."""
    program = f"""
import ctypes, sys, time, types
from hypothesis import strategies as st
import fuzzing
target = types.SimpleNamespace(cases=st.binary(), check=lambda case, folder: {check})
sys.modules["fuzztargets"] = types.SimpleNamespace(TARGETS={{"bad": lambda: target}})
fuzzing.LONGEST_CASE_S = 0.5
fuzzing.fuzz("bad", 0, 5)
"""
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, encoding="utf-8", check=False)
    assert done.returncode != 0 and "case of bad: 1: " in done.stderr and told in done.stderr


def test_every_test_that_the_list_of_faults_names_exists():
    repository = Path(__file__).parents[2]
    text = (repository / "docs/faults.md").read_text(encoding="utf-8")
    named = re.findall(r"`(\w+\.py)::(\w+)`", text)
    assert len(named) > 40
    sources = {path.name: path.read_text(encoding="utf-8") for path in (repository / "Testing").rglob("test_*.py")}
    missing = [f"{file}::{test}" for file, test in named if f"def {test}(" not in sources.get(file, "")]
    assert missing == []
