"""The short version of twenty_kills.py: the command line, killed at a random moment, loses nothing."""

import signal

import pytest
import twenty_kills


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs POSIX")
def test_a_random_kill(tmp_path, capfd):
    assert twenty_kills.experiment(tmp_path, kills=1, seed=4) == 0
    assert capfd.readouterr().out.count("the same weights") == 1
