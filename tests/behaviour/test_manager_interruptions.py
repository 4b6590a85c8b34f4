"""Calls to a manager that a signal's handler interrupts, and clients that fork: whose answer is whose, who holds what."""

import contextlib
import os
import queue
import signal
import time

import pytest

import polyproc
from conftest import eventually, plain_fork


class TooLong(Exception):
    pass


class Stop(BaseException):
    pass


@pytest.fixture
def manager():
    with polyproc.get_context("fork").Manager() as made:
        yield made
    made.join()


@contextlib.contextmanager
def alarm(error):
    """Interrupt what is done here, again and again until it ends."""

    def ring(number, frame):
        raise error

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    try:
        with pytest.raises(error):
            yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@pytest.fixture(params=[TooLong, TimeoutError, Stop, KeyboardInterrupt])
def error(request):
    return request.param


def test_the_next_call_gets_its_own_answer(manager, error):
    items, table = manager.Queue(), manager.dict(a=1)
    with alarm(error):
        items.get()
    assert table["a"] == 1
    assert table.copy() == {"a": 1}
    items.put("for another")
    assert items.get(timeout=20) == "for another"  # the call that was called off has not taken it


@pytest.mark.parametrize("kind", ["Lock", "RLock", "Condition", "BoundedSemaphore"])
def test_what_the_thread_holds_stays_held(manager, kind):
    lock, items = getattr(manager, kind)(), manager.Queue()
    with lock:
        with alarm(TooLong):
            items.get()
        with pytest.raises(queue.Empty):
            items.get(False)
    with lock:
        pass


def test_a_wait_that_is_called_off_holds_the_lock_again(manager):
    condition = manager.Condition()
    with condition, alarm(TooLong):
        condition.wait()
    with condition:
        condition.notify()


def test_a_lock_that_came_too_late_is_given_back(manager):
    lock, items = manager.Lock(), manager.Queue()
    items.put(0)  # there is a connection
    link = lock._link
    own = link._local()
    connection = own.connection

    class Interrupting:
        """A connection that is interrupted when the answer has come, before it is read."""

        _exchange = None  # it is asked and heard in two steps

        def __getattr__(self, name):
            return getattr(connection, name)

        def recv_bytes(self):
            connection.poll(None)
            own.connection = connection
            raise TooLong

    own.connection = Interrupting()
    with pytest.raises(TooLong):
        lock.acquire()
    assert lock.acquire(False)
    lock.release()


def test_an_argument_that_cannot_be_sent_harms_nothing(manager):
    table = manager.dict()
    lock = manager.RLock()
    with lock:
        with pytest.raises(TypeError):
            table["a"] = (number for number in [])
        assert table.copy() == {}


def test_a_killed_clients_lock_is_free_though_a_fork_of_it_lives(manager):
    lock, told = manager.RLock(), polyproc.Queue()
    process = polyproc.get_context("fork").Process(target=hold_and_fork, args=(lock, told))
    process.start()
    fork = told.get(timeout=20)
    try:
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        assert lock.acquire(True, 20)
        lock.release()
    finally:
        os.kill(fork, signal.SIGKILL)


def hold_and_fork(lock, told):
    lock.acquire()
    fork = plain_fork()
    if not fork:
        while True:
            time.sleep(60)
    told.put(fork)
    time.sleep(60)


def test_a_plain_fork_is_another_client(manager):
    table, lock = manager.dict(a=1), manager.RLock()
    lock.acquire()
    fork = plain_fork()
    if not fork:
        try:
            os._exit(0 if table["a"] == 1 and not lock.acquire(False) else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(fork, 0)[1]) == 0
    table["a"] = 2
    assert table["a"] == 2
    lock.release()
    eventually(lambda: manager._number_of_objects() == 2)
