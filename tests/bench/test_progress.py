"""A bar for a person at a terminal, and for nobody else."""

import io
import sys
import threading

import pytest

from paceline_bench.report.progress import track


class Stream(io.StringIO):
    def __init__(self, terminal: bool) -> None:
        super().__init__()
        self._terminal = terminal

    def isatty(self) -> bool:
        return self._terminal


@pytest.mark.parametrize("terminal", [True, False])
def test_the_bar_goes_to_stderr_and_only_to_a_terminal(
    terminal: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stderr = Stream(terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    monkeypatch.setattr(sys, "stderr", stderr)
    assert list(track(["a", "b", "c"], "floor: rounds")) == ["a", "b", "c"]
    assert ("floor: rounds" in stderr.getvalue()) is terminal
    assert ("2/3" in stderr.getvalue()) is terminal
    assert not capsys.readouterr().out


def test_no_thread_draws_while_a_step_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    stderr = Stream(True)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", stderr)
    threads = set(threading.enumerate())
    for _ in track([1, 2], "floor: rounds"):
        assert set(threading.enumerate()) <= threads
