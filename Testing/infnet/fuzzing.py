"""Damaged and hostile inputs for every reader: python Testing/infnet/fuzzing.py --seconds 600

Each target of `fuzztargets` runs in a process of its own, with limited memory, so that a crash of the interpreter or
a hang is a finding as well as an exception is. Findings are told with the smallest input that Hypothesis found. The
time is shared evenly among the targets, whatever one execution costs.
"""

import argparse
import faulthandler
import json
import math
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

if __name__ == "__main__":
    root = Path(__file__).resolve().parents[2]
    sys.path[:0] = [str(root / "Testing"), str(root / "InfNetSegmentation")]

_CASE = "case of "
LONGEST_CASE_S = 60
MEMORY_BYTES = 6 << 30
ROUND_S = 60


@dataclass(frozen=True)
class Round:
    """How a process ended. ``executions`` by target; ``finding`` is None, or what was found."""

    executions: Mapping[str, int]
    finding: str | None


def fuzz(target, seed, examples, seconds=math.inf):
    """One round in this process, of ``seconds`` at most. Raises what the target raises, for the smallest case."""
    from fuzztargets import TARGETS
    from hypothesis import HealthCheck, Phase, given, settings
    from hypothesis import seed as with_seed

    chosen, executions, failed = TARGETS[target](), 0, False
    end = time.monotonic() + seconds
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
            nonlocal executions, failed
            if not failed and time.monotonic() > end:
                return
            executions += 1
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            print(f"{_CASE}{target}: {executions}: {case!r}", file=sys.stderr)
            faulthandler.dump_traceback_later(LONGEST_CASE_S, exit=True)
            try:
                chosen.check(case, folder)
            except BaseException:
                failed = True  # it is run again, to find the smallest case
                raise
            faulthandler.cancel_dump_traceback_later()

        check()


def in_process(targets, seed, examples, seconds=math.inf, timeout_s=None):
    """One round of each target in a process of their own."""
    numbers = {"--seed": seed, "--examples": examples, "--seconds": seconds}
    words = [str(word) for pair in numbers.items() for word in pair]
    command = [sys.executable, __file__, "--target", *targets, *words]
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


@dataclass
class Share:
    """What one target has had so far."""

    rounds: int = 0
    seconds: float = 0
    executions: int = 0
    findings: int = 0


def fuzz_fairly(shares, seed, examples, seconds):
    """Rounds of ``shares``, a `Share` by target, for ``seconds``; the target that has had the least time is next."""
    end = time.monotonic() + seconds
    while (start := time.monotonic()) < end:
        target, share = min(shares.items(), key=lambda item: item[1].seconds)
        result = in_process([target], seed + share.rounds, examples, ROUND_S)
        if result.finding:
            share.findings += 1
            print(f"\nFINDING: {target}, seed {seed + share.rounds}: {result.finding}\n")
        share.rounds += 1
        share.seconds += time.monotonic() - start
        share.executions += result.executions[target]
        yield target


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=600, help="in all; default %(default)s")
    parser.add_argument("--seed", type=int, help="each target's first; default: by chance")
    parser.add_argument("--only", nargs="+", help="these targets alone")
    parser.add_argument("--state", type=Path, help="a JSON file to go on from, and to write after every round")
    parser.add_argument("--target", nargs="+", help="one round of these, in this process, to repeat a finding")
    parser.add_argument("--examples", type=int, default=300, help="a round, at most; default %(default)s")
    options = parser.parse_args()
    seed = random.randrange(1 << 32) if options.seed is None else options.seed
    if options.target:
        limit_memory()
        for target in options.target:
            fuzz(target, seed, options.examples, options.seconds)
        return
    from fuzztargets import TARGETS

    state = {"seed": seed, "shares": {}}
    if options.state and options.state.exists():
        state = json.loads(options.state.read_text())
    shares = {target: Share(**state["shares"].get(target, {})) for target in TARGETS}
    chosen = {target: shares[target] for target in options.only or TARGETS}
    for target in fuzz_fairly(chosen, state["seed"], options.examples, options.seconds):
        print(f"{target}: {shares[target]}", flush=True)
        if options.state:
            state["shares"] = {name: asdict(share) for name, share in shares.items()}
            options.state.write_text(json.dumps(state, indent=1))
    for target, share in chosen.items():
        print(f"{target:<28}{share.executions:>9} executions{share.seconds:>7.0f} s{share.findings:>4} findings")
    sys.exit(1 if any(share.findings for share in chosen.values()) else 0)


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
