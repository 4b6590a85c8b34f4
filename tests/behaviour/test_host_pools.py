"""Pools, executors and tasks on nodes: the scheduler is the one of every pool, its workers are elsewhere."""

import os
import pickle
import signal
import struct
import time
from concurrent.futures import wait

import pytest

import polyproc
from polyproc._hosts import frames
from support import on_hosts

IN_TIME = 30


@pytest.fixture
def pool(hosts):
    """A pool of two workers, one on each node."""
    with hosts.Pool(2) as pool:
        yield pool
        pool.terminate()
        pool.join()


def test_host_pools_work_is_done_on_all_nodes(pool):
    assert {*pool.map(on_hosts.slow_where, range(8), 1)} == {"one", "two"}
    assert pool.map(on_hosts.echo, range(1000)) == list(range(1000))
    assert list(pool.imap(on_hosts.echo, range(20))) == list(range(20))
    assert pool.starmap(pow, [(2, 3), (3, 2)]) == [8, 9]
    assert pool.apply(lambda: 6 * 7) == 42


def test_host_pools_are_as_large_as_the_nodes(hosts):
    with hosts.Pool() as pool:
        assert len(pool._pool) == hosts.cpu_count()
        pool.terminate()
        pool.join()


def test_host_pools_exceptions_come_back(pool):
    with pytest.raises(KeyError, match="the key"):
        pool.apply(on_hosts.fail)
    with pytest.raises(Exception, match="cannot pickle"):
        pool.apply(on_hosts.unpicklable)


def test_host_pools_large_data_travels(pool):
    data = os.urandom(1 << 23)
    assert pool.apply(on_hosts.echo, (data,)) == data


def test_host_pools_what_is_of_this_host_is_refused(pool):
    reader, writer = polyproc.Pipe()
    with reader, writer, pytest.raises(polyproc.ProcessError, match="cannot pass a descriptor"):
        pool.apply(on_hosts.echo, (reader,))


def test_host_pools_killed_worker_costs_its_call(pool):
    with pytest.raises(polyproc.ProcessDied) as caught:
        pool.apply(on_hosts.end_by, (signal.SIGKILL,))
    assert caught.value.host in ("one", "two")
    assert pool.apply(on_hosts.echo, (1,)) == 1


PICKLE = pickle.dumps("a message")


@pytest.mark.parametrize(
    "data",
    [
        b"some words of a library's that were meant for a file",
        b"\n",
        b"\0\0\1\0" + frames.MARK + b"the rest is not there" * 20,
        frames.header(len(PICKLE)) + PICKLE,
        frames.header(64) + frames.opening(0, [bytearray(8)] * 5) + b"x" * 64,
        frames.header(17) + frames.opening(0, [bytearray(1 << 20)]) + frames.header(3) + b"abc",
        frames.header(25) + frames.opening(0, [], struct.pack("<IIQ", 1, 1, 1)) + b"memory of another",
    ],
    ids=["words", "byte", "half", "pickle", "sizes", "buffer", "memory"],
)
def test_host_pools_worker_that_says_nonsense_costs_its_call(pool, data):
    """Also where that looks like the beginning of something: nobody waits for the rest."""
    if data == b"\n":  # what comes behind it has no mark where one would be
        data += frames.header(4) + frames.RECEIPT
    with pytest.raises(polyproc.ProcessDied):
        pool.apply_async(on_hosts.write_into_own_pipe, (data,)).get(IN_TIME)
    assert pool.apply(on_hosts.echo, (1,)) == 1


def test_host_pools_receipt_that_nobody_waits_for_is_nothing(pool):
    data = frames.header(len(frames.RECEIPT)) + frames.RECEIPT
    call = pool.apply_async(on_hosts.write_into_own_pipe, (data,))
    assert pool.apply(on_hosts.echo, (1,)) == 1
    assert not call.ready()


def test_host_pools_calls_end_by_their_timeout(pool):
    with pytest.raises(polyproc.TimeoutError):
        pool.options(timeout=0.2).apply(on_hosts.sleep)
    assert pool.apply(on_hosts.echo, (1,)) == 1


def test_host_pools_running_call_can_be_cancelled(pool, hosts):
    begun = hosts.Event()
    future = pool.submit(on_hosts.say_and_sleep, begun)
    assert begun.wait(IN_TIME)
    assert future.cancel()
    assert pool.apply(on_hosts.echo, (1,)) == 1


def test_host_pools_lost_host_costs_what_ran_there_and_is_named():
    with polyproc.get_context("command", hosts=["good", "bad"]) as context, context.Pool(2) as pool:
        agents = {node.name: node.facts["pid"] for node in context._nodes.all()}
        begun = context.Queue()
        results = [pool.apply_async(on_hosts.tell_and_sleep, (begun, 1.0)) for _ in range(2)]
        assert {begun.get(timeout=IN_TIME), begun.get(timeout=IN_TIME)} == {"good", "bad"}
        os.kill(agents["bad"], signal.SIGKILL)
        outcomes = []
        for result in results:
            try:
                outcomes.append(result.get(IN_TIME))
            except polyproc.ProcessDied as died:
                outcomes.append((died.host, died.reason))
        assert sorted(outcomes, key=str) == [("bad", "host lost"), "good"]
        assert pool.map(on_hosts.echo, range(10), 1) == list(range(10))
        pool.terminate()
        pool.join()


def test_host_pools_lost_calls_are_retried_where_that_is_asked_for():
    with polyproc.get_context("command", hosts=["good", "bad"]) as context, context.Pool(2) as pool:
        agents = {node.name: node.facts["pid"] for node in context._nodes.all()}
        begun = context.Queue()
        retried = pool.options(retries=2)
        results = [retried.apply_async(on_hosts.tell_and_sleep, (begun, 0.5)) for _ in range(2)]
        assert {begun.get(timeout=IN_TIME), begun.get(timeout=IN_TIME)} == {"good", "bad"}
        os.kill(agents["bad"], signal.SIGKILL)
        assert all(result.get(IN_TIME) in ("good", "bad") for result in results)
        pool.terminate()
        pool.join()


def test_host_pools_executor_runs_there(hosts):
    with polyproc.ProcessPoolExecutor(
        2, mp_context=hosts, initializer=on_hosts.remember, initargs=("value",)
    ) as executor:
        futures = [executor.submit(on_hosts.recall) for _ in range(4)]
        assert wait(futures, IN_TIME).not_done == set()
        assert [future.result() for future in futures] == ["value"] * 4
        assert list(executor.map(on_hosts.echo, range(10))) == list(range(10))


def test_host_pools_worker_that_cannot_begin_says_why(hosts):
    with hosts.Pool(1, initializer=on_hosts.fail) as pool, pytest.raises(KeyError):
        pool.apply(on_hosts.echo, (1,))
    pool.terminate()
    pool.join()


def test_host_pools_workers_are_replaced(hosts):
    with hosts.Pool(1, maxtasksperchild=1) as pool:
        pids = {pool.apply(os.getpid) for _ in range(3)}
        pool.terminate()
        pool.join()
    assert len(pids) == 3


def test_host_pools_of_a_closed_context_end():
    context = polyproc.get_context("command")
    pool = context.Pool(1)
    result = pool.apply_async(on_hosts.sleep)
    time.sleep(0.05)
    context.close()
    with pytest.raises(polyproc.ProcessError):
        result.get(IN_TIME)
    pool.terminate()
    pool.join()
