"""Signals while a fit goes on."""

from __future__ import annotations

import signal
import threading

import pytest

from dewedge.runtime.stopping import stop_asked


class Terminated(Exception):
    pass


@pytest.fixture(autouse=True)
def handled() -> object:
    """Handlers as the command line has them; a shell's background job ignores SIGINT."""

    def terminate(number: int, frame: object) -> None:
        raise Terminated

    handlers = {signal.SIGTERM: terminate, signal.SIGINT: signal.default_int_handler}
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number, error", [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, Terminated)])
def test_a_signal_is_told_and_does_at_the_end_what_it_did(number: int, error: type[BaseException]):
    seen = []
    with pytest.raises(error), stop_asked() as stop:
        seen.append(stop())
        signal.raise_signal(number)
        seen.append(stop())
    assert seen == [False, True]


def test_what_the_block_raises_gives_way_to_the_signal():
    with pytest.raises(Terminated), stop_asked():
        signal.raise_signal(signal.SIGTERM)
        raise KeyboardInterrupt


def test_a_second_signal_is_obeyed_at_once():
    reached = []
    with pytest.raises(Terminated), stop_asked():
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
        reached.append(True)
    assert not reached


def test_without_a_signal_nothing_changes():
    before = signal.getsignal(signal.SIGINT)
    with stop_asked() as stop:
        assert not stop()
    assert signal.getsignal(signal.SIGINT) is before


def test_in_a_thread_signals_do_what_they_did():
    seen: list[bool] = []

    def work() -> None:
        with stop_asked() as stop:
            seen.append(stop())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [False]
