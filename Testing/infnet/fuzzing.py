"""Damaged and hostile inputs for every reader: python Testing/infnet/fuzzing.py --seconds 600

Each target of `fuzztargets` runs in a process of its own, with limited memory, so that a crash of the interpreter or
a hang is a finding as well as an exception is. Findings are told with the smallest input that Hypothesis found.
"""

import argparse
import faulthandler
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

if __name__ == "__main__":
    root = Path(__file__).resolve().parents[2]
    sys.path[:0] = [str(root / "Testing"), str(root / "InfNetSegmentation")]

_CASE = "case of "
LONGEST_CASE_S = 120  # of a damaged length in a DICOM header, GDCM first allocates as much: seconds a slice
MEMORY_BYTES = 6 << 30


@dataclass(frozen=True)
class Round:
    """How a process ended. ``executions`` by target; ``finding`` is None, or what was found."""

    executions: Mapping[str, int]
    finding: str | None


def fuzz(target, seed, examples):
    """One round in this process. Raises what the target raises, for the smallest case."""
    from fuzztargets import TARGETS
    from hypothesis import HealthCheck, Phase, given, settings
    from hypothesis import seed as with_seed

    chosen, executions = TARGETS[target](), 0
    with tempfile.TemporaryDirectory(prefix="infnet-fuzzing-") as parent:
        folder = Path(parent) / "case"

        @with_seed(seed)
        @settings(
            max_examples=examples,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
            phases=(Phase.generate, Phase.shrink),
        )
        @given(chosen.cases)
        def check(case):
            nonlocal executions
            executions += 1
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            print(f"{_CASE}{target}: {executions}: {case!r}", file=sys.stderr)
            faulthandler.dump_traceback_later(LONGEST_CASE_S, exit=True)
            chosen.check(case, folder)
            faulthandler.cancel_dump_traceback_later()

        check()


def in_process(targets, seed, examples, timeout_s=None):
    """One round of each target in a process of their own."""
    command = [sys.executable, __file__, "--target", *targets, "--seed", str(seed), "--examples", str(examples)]
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as log:
        done = subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, timeout=timeout_s, check=False)
        log.seek(0)
        lines = log.read().splitlines()
    cases = [number for number, line in enumerate(lines) if line.startswith(_CASE)]
    executions = Counter(lines[number].removeprefix(_CASE).split(": ")[0] for number in cases)
    if done.returncode == 0:
        return Round(executions, None)
    last = "\n".join(lines[cases[-1] if cases else 0 :])
    return Round(executions, f"exit status {done.returncode}\n{last[:3000]}\n{last[3000:][-3000:]}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, help="the first round's; default: by chance")
    parser.add_argument("--examples", type=int, default=300, help="a round")
    parser.add_argument("--target", nargs="+", help="one round of these alone, in this process")
    options = parser.parse_args()
    seed = random.randrange(1 << 32) if options.seed is None else options.seed
    if options.target:
        limit_memory()
        for target in options.target:
            fuzz(target, seed, options.examples)
        return
    from fuzztargets import TARGETS

    counts, findings = Counter(), 0
    end = time.monotonic() + options.seconds
    while time.monotonic() < end:
        for target in TARGETS:
            if time.monotonic() >= end:
                break
            result = in_process([target], seed, options.examples)
            counts += result.executions
            if result.finding:
                findings += 1
                print(f"\nFINDING: {target}, seed {seed}: {result.finding}\n", flush=True)
            print(f"{counts.total()} executions, {findings} findings", flush=True)
        seed += 1
    for target, count in counts.items():
        print(f"{target:<28}{count:>9}")
    sys.exit(1 if findings else 0)


def limit_memory():
    """A header that tells a huge image then costs an error and not the machine."""
    try:
        import resource
    except ImportError:  # Windows
        return
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


if __name__ == "__main__":
    main()
