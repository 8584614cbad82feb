"""How far a transfer is, on a terminal and without one."""

import io
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from cli.progress import Watch, watching
from client.retry import RetryNotice


class Terminal(io.StringIO):
    """A terminal whose output can be read."""

    def isatty(self) -> bool:
        return True


@contextmanager
def watched_on_terminal(name: str, size: int | None, finishing: str = "") -> Iterator[tuple[Watch, Terminal]]:
    """A transfer that is watched on a terminal; in the body of a test, since pytest takes stderr anew for each."""
    screen = Terminal()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.stderr", screen)
        patch.setenv("TERM", "xterm")
        patch.setenv("COLUMNS", "120")
        with watching(name, size, finishing=finishing) as watch:
            yield watch, screen


def failed(attempt: int, delay: float = 0.1) -> RetryNotice:
    return RetryNotice(attempt, 9, delay, "no answer from http://sluice: connection refused", OSError())


def test_the_size_is_shown_before_the_first_byte() -> None:
    with watched_on_terminal("a.bin", 2048) as (_, screen):
        pass
    assert "0.0/2.0 KiB" in screen.getvalue()


def test_a_size_that_was_not_known_is_shown_with_the_first_bytes() -> None:
    with watched_on_terminal("a.bin", None) as (watch, screen):
        assert watch.progress is not None
        watch.progress(1024, 2048)
    assert "1.0/2.0 KiB" in screen.getvalue()


def test_a_retry_is_told_below_the_bar() -> None:
    with watched_on_terminal("a.bin", 100) as (watch, screen):
        watch.on_retry(failed(2))
        wait_for(screen, "no answer from http://sluice: connection refused; attempt 2 of 9")


def test_bytes_that_move_again_end_what_was_told() -> None:
    with watched_on_terminal("a.bin", 100) as (watch, screen):
        assert watch.progress is not None
        watch.on_retry(failed(2))
        wait_for(screen, "attempt 2 of 9")
        watch.progress(50, 100)
        wait_for(screen, "50/100")
        assert "attempt" not in screen.getvalue().partition("50/100")[2]


def test_the_name_gives_way_to_what_is_being_finished() -> None:
    with watched_on_terminal("a.bin", 100, finishing="verifying") as (watch, screen):
        assert watch.progress is not None
        watch.progress(100, 100)
    assert "verifying" in screen.getvalue()


def test_control_characters_of_a_name_do_not_reach_the_terminal() -> None:
    with watched_on_terminal("a\x1b[2Jb", 100) as (_, screen):
        pass
    assert "a\N{REPLACEMENT CHARACTER}[2Jb" in screen.getvalue()


def wait_for(screen: Terminal, words: str) -> None:
    """Return when the bar, which draws itself ten times a second, shows these words."""
    deadline = time.monotonic() + 10
    while words not in screen.getvalue():
        assert time.monotonic() < deadline, screen.getvalue()
        time.sleep(0.01)


@pytest.mark.parametrize("quiet", [True, False])
def test_without_a_terminal_a_hiccup_is_silent_and_a_stop_is_one_line(
    capsys: pytest.CaptureFixture[str], quiet: bool
) -> None:
    with watching("a.bin", 100, quiet=quiet) as watch:
        assert watch.progress is None
        for attempt in range(2, 10):
            watch.on_retry(failed(attempt))
    told = "sluice: a.bin: no answer from http://sluice: connection refused; attempt 3 of 9\n"
    assert capsys.readouterr().err == told


def test_a_long_pause_is_told_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    with watching("a.bin", 100) as watch:
        watch.on_retry(failed(2, delay=60))
    assert capsys.readouterr().err.endswith("attempt 2 of 9\n")
