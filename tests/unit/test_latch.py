"""What a result is waited for by: the core's Latch, and threading.Event where that is not there."""

import signal
import threading
import time

import pytest

from polyproc._pool.pool import Latch

KINDS = {kind.__name__: kind for kind in (threading.Event, Latch)}


@pytest.fixture(params=KINDS.values(), ids=list(KINDS))
def latch(request):
    return request.param()


def test_it_is_set_once_and_stays(latch):
    assert (latch.is_set(), latch.wait(0), latch.wait(0.01), latch.wait(timeout=-1)) == (False, False, False, False)
    latch.set()
    latch.set()
    assert (latch.is_set(), latch.wait(), latch.wait(0), latch.wait(timeout=None)) == (True, True, True, True)


def test_all_who_wait_are_woken(latch):
    woken = []
    threads = [threading.Thread(target=lambda: woken.append(latch.wait(30))) for _ in range(8)]
    for thread in threads:
        thread.start()
    time.sleep(0.01)  # most of them wait by now; that is not needed
    latch.set()
    for thread in threads:
        thread.join(30)
    assert woken == [True] * 8


@pytest.mark.parametrize("timeout", [None, 30])
def test_a_signal_handler_runs_and_may_end_the_wait(latch, timeout):
    calls = []

    def handler(number, frame):
        calls.append(number)
        if len(calls) == 2:
            raise InterruptedError

    before = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.02, 0.02)
    try:
        with pytest.raises(InterruptedError):
            latch.wait(timeout)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert len(calls) == 2


def test_one_hand_over_after_another(latch):
    kind = type(latch)
    there, back = [kind() for _ in range(2000)], [kind() for _ in range(2000)]

    def answer():
        for one, other in zip(there, back, strict=True):
            one.wait()
            other.set()

    thread = threading.Thread(target=answer)
    thread.start()
    for one, other in zip(there, back, strict=True):
        one.set()
        assert other.wait(30)
    thread.join(30)
