"""The short version of twenty_kills.py: the command line, killed at random moments, loses nothing."""

import signal

import pytest
import twenty_kills


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs POSIX")
def test_two_random_kills(tmp_path, capfd):
    assert twenty_kills.experiment(tmp_path, kills=2, seed=4) == 0
    assert capfd.readouterr().out.count("the same weights") == 2
