"""What a manager's server remembers of its clients' locks."""

import threading

import pytest

import polyproc
from polyproc._managers.serving import Client, Holdings


@pytest.fixture
def clients():
    pipes = [polyproc.Pipe() for _ in range(2)]
    yield [Client(ours) for ours, _ in pipes]
    for ends in pipes:
        for end in ends:
            end.close()


def test_a_lock_that_is_released_is_forgotten(clients):
    one, two = clients
    holdings = Holdings()
    recursive = threading.RLock()
    for _ in range(2):
        assert holdings.acquire(one, recursive)
    holdings.release(one, recursive)
    assert one.held[id(recursive)].count == 1
    holdings.release(one, recursive)
    lock = threading.Lock()
    assert holdings.acquire(one, lock)
    holdings.release(two, lock)  # anybody may
    assert holdings.acquire(two, lock, True, 1.0)
    holdings.release(two, lock)
    assert not one.held
    assert not two.held
    assert not holdings._holders


def test_what_a_client_leaves_is_released_as_often_as_it_was_acquired(clients):
    one, two = clients
    holdings = Holdings()
    permits = threading.BoundedSemaphore(3)
    for client in (one, one, two):
        assert holdings.acquire(client, permits)
    assert not holdings.acquire(two, permits, True, 0.01)
    holdings.let_go(one)
    assert [holdings.acquire(two, permits, False) for _ in range(3)] == [True, True, False]
    holdings.let_go(two)
    assert not holdings._holders
    plain = threading.Semaphore(1)  # may be used for messages
    assert holdings.acquire(one, plain)
    holdings.let_go(one)
    assert not holdings.acquire(one, plain, False)
