"""What travels between hosts: large buffers in no pickle, items ahead of answers, one copy for each node."""

import asyncio
import functools
import gc
import os
import random
import signal
import sys
import threading
import tracemalloc

import pytest

import polyproc
from conftest import eventually
from polyproc._hosts import command_engine, frames
from polyproc._hosts.host_workers import Incoming
from support import on_hosts

IN_TIME = 60
SIZE = on_hosts.SIZE
LITTLE = SIZE // 4  # of memory, where nothing is copied


@pytest.fixture(scope="module")
def hosts(hosts_elsewhere):
    """A context with two nodes, elsewhere as far as they can see."""
    return hosts_elsewhere


@pytest.fixture
def start(hosts):
    """Starts processes; those that are left are killed."""
    with on_hosts.starting(hosts, IN_TIME) as start:
        yield start


def test_host_data_queues_copy_a_large_buffer_into_no_pickle(hosts, start):
    made = hosts.Queue()
    assert start(on_hosts.put_large, made).result(IN_TIME) < LITTLE
    found, more = start(on_hosts.get_large, made).result(IN_TIME)
    assert found == (SIZE, 1, 2, False)
    assert more < SIZE + LITTLE


def test_host_data_pipes_copy_a_large_buffer_into_no_pickle(hosts, start):
    here, there = hosts.Pipe()
    sender = start(on_hosts.send_large, there)
    assert here.recv().summary() == (SIZE, 3, 4, False)
    assert sender.result(IN_TIME) < LITTLE
    receiver = start(on_hosts.receive_large, there)
    here.send(on_hosts.large(7, 8))
    found, more = receiver.result(IN_TIME)
    assert found == (SIZE, 7, 8, False)
    assert more < SIZE + LITTLE


def test_host_data_what_is_sent_is_what_it_was_then(hosts):
    (here, there), (first, second) = hosts.Pipe(), hosts.Pipe()
    made = hosts.Queue()
    large = on_hosts.large(1, 2)
    here.send(large)
    first.send_bytes(large.data)
    made.put(large)
    large.data[0] = 99
    assert there.recv().summary() == (SIZE, 1, 2, False)
    assert second.recv_bytes()[:1] == b"\1"
    assert made.get().summary() == (SIZE, 1, 2, False)


def test_host_data_arguments_of_processes_can_be_written_to(start):
    assert start(on_hosts.change_in_place, on_hosts.large(9, 10)).result(IN_TIME) == (SIZE, 77, 10, False)


def test_host_data_pools_copy_a_large_buffer_into_no_pickle(hosts):
    with hosts.Pool(1, on_hosts.begin_to_measure) as pool:
        large = on_hosts.large(11, 12)
        before = pool.apply(on_hosts.reset_peak)
        later = pool.apply_async(on_hosts.change_in_place, (large,))
        large.data[-1] = 99  # it was sent as it was
        assert later.get(IN_TIME) == (SIZE, 77, 12, False)
        assert pool.apply(on_hosts.peak_since, (before,)) < SIZE + LITTLE
        before = pool.apply(on_hosts.reset_peak)
        assert pool.apply(on_hosts.return_large).summary() == (SIZE, 5, 6, False)
        assert pool.apply(on_hosts.peak_since, (before,)) < LITTLE
        assert pool.starmap(on_hosts.summary_of, [(large, n) for n in range(3)]) == [(SIZE, 11, 99, False)] * 3


def test_host_data_frames_are_found_in_whatever_pieces_they_come():
    chosen = random.Random(5)
    for _ in range(30):
        frames = [chosen.randbytes(chosen.choice([0, 1, 100, 70_000, 1 << 20, 3 << 20])) for _ in range(3)]
        data = b"".join(len(frame).to_bytes(4, "big") + frame for frame in frames)
        incoming, found, at = Incoming(), [], 0
        while at < len(data):
            piece = memoryview(data)[at : at + chosen.choice([1, 13, 1000, 1 << 19, 1 << 20])]
            place = incoming.place(len(piece))
            if place is not None and chosen.random() < 0.8:
                place[:] = piece
                piece = place
            at += len(piece)
            found += map(bytes, incoming.add(piece))
        assert found == frames


def test_host_data_header_that_lies_costs_little_memory():
    incoming = Incoming()
    tracemalloc.start()
    try:
        assert not list(incoming.add(memoryview(b"\xff\xff\xff\xff" + (1 << 46).to_bytes(8, "big") + b"x" * 100)))
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


def test_host_data_pool_goes_on_when_an_agent_takes_nothing(hosts):
    nodes = hosts._nodes.all()
    with hosts.Pool(2) as pool:
        eventually(lambda: len(set(pool.map(on_hosts.slow_where, range(4), chunksize=1))) == 2)
        os.kill(nodes[0].facts["pid"], signal.SIGSTOP)
        try:
            calls = [pool.apply_async(on_hosts.summary_of, (on_hosts.large(1, 2),)) for _ in range(8)]
            eventually(lambda: sum(call.ready() for call in calls) >= 6)  # two are with the one that is stopped
        finally:
            os.kill(nodes[0].facts["pid"], signal.SIGCONT)
        assert [call.get(IN_TIME) for call in calls] == [(SIZE, 1, 2, False)] * 8


@pytest.mark.parametrize("put", [on_hosts.put_numbers_and_die, on_hosts.put_numbers, on_hosts.put_numbers_in_a_thread])
def test_host_data_what_was_put_is_there_in_order_also_if_its_process_was_killed(hosts, start, put):
    for _ in range(3):
        made = hosts.Queue()
        process = start(put, made, 300)
        process.join(IN_TIME)
        if put is on_hosts.put_numbers_and_die:
            assert process.exitcode == -signal.SIGKILL
            assert [made.get(timeout=IN_TIME) for _ in range(300)] == list(range(300))
        else:  # an end in good order waits until all is there
            assert [made.get_nowait() for _ in range(300)] == list(range(300))
        assert made.empty()


@pytest.mark.skipif(not polyproc.native, reason="queues can be shut down with the core, or from Python 3.13 on")
def test_host_data_end_of_a_queue_is_told_to_who_puts(hosts, start):
    made = hosts.Queue()
    process = start(on_hosts.put_until_it_is_shut_down, made)
    eventually(lambda: made.qsize() > 100)
    made.shutdown()
    count = process.result(IN_TIME)
    assert made.qsize() <= count < made.qsize() + 1500  # what was on its way then


def blocks_of(pid):
    """Return how many shared things an agent keeps."""
    found = 0
    for fd in os.listdir(f"/proc/{pid}/fd"):
        try:
            path = f"/proc/{pid}/fd/{fd}"
            target = os.readlink(path)  # an anonymous file; where there are none, one whose name is gone
            is_block = "polyproc-block" in target or ("/polyproc-" in target and target.endswith(" (deleted)"))
            found += is_block and os.stat(path).st_size >= SIZE
        except OSError:
            pass
    return found


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="descriptors are looked at in /proc")
def test_host_data_what_is_shared_is_sent_once_to_each_node_and_dropped(hosts):
    pids = [node.facts["pid"] for node in hosts._nodes.all()]
    wanted = []
    for node in hosts._nodes.all():
        node._reports["want"] = lambda name, want=node._wanted: (wanted.append(name), want(name))
    shared = polyproc.share(on_hosts.large(1, 2))
    with hosts.Pool(4) as pool:
        found = pool.starmap(on_hosts.host_and_summary, [(shared, n) for n in range(40)], chunksize=1)
        call = functools.partial(on_hosts.host_and_summary, shared)
        found += pool.map(call, range(8), chunksize=1)
        assert {summary for _, summary in found} == {(SIZE, 1, 2, True)}
        assert len(wanted) == len({host for host, _ in found})
        assert any(blocks_of(pid) for pid in pids)
        call = None
        shared.close()
        eventually(lambda: not any(blocks_of(pid) for pid in pids))
        later = pool.apply_async(on_hosts.summary_of, (polyproc.share(on_hosts.large(3, 4)),))  # kept by the call
        assert later.get(IN_TIME) == (SIZE, 3, 4, True)
        gc.collect()
        eventually(lambda: not any(blocks_of(pid) for pid in pids))


def test_host_data_what_is_shared_comes_to_processes_and_by_value_through_queues(hosts, start):
    made = hosts.Queue()
    with polyproc.share(on_hosts.large(5, 6)) as shared:
        assert start(on_hosts.summary_of, shared).result(IN_TIME) == (SIZE, 5, 6, True)
        made.put(shared)
        assert made.get().summary() == (SIZE, 5, 6, True)
    with polyproc.share(on_hosts.large(5, 6), writable=True) as shared:
        assert start(on_hosts.change_in_place, shared).result(IN_TIME) == (SIZE, 77, 6, False)


def test_host_data_call_that_is_cancelled_takes_nothing(hosts):
    made, event, lock = hosts.Queue(), hosts.Event(), hosts.Lock()
    kept_by_manager = hosts.Manager().Queue()
    here, there = hosts.Pipe()
    lock.acquire()
    before = set(threading.enumerate())

    async def main():
        waits = [made.aio.get(), event.aio.wait(), lock.aio.acquire(), kept_by_manager.aio.get(), there.aio.recv()]
        tasks = [asyncio.ensure_future(wait) for wait in waits]
        await asyncio.sleep(0.3)
        for task in tasks:
            task.cancel()
        found = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(one, asyncio.CancelledError) for one in found), found

    asyncio.run(main())
    eventually(lambda: not set(threading.enumerate()) - before)
    made.put(1)
    kept_by_manager.put(2)
    here.send(3)
    lock.release()
    assert (made.get_nowait(), kept_by_manager.get_nowait(), there.recv(), lock.acquire(False)) == (1, 2, 3, True)
    lock.release()


def test_host_data_pipes_can_be_awaited(hosts):
    here, there = hosts.Pipe()

    async def main():
        await here.aio.send({"a": 1})
        await here.aio.send_bytes(b"bytes")
        assert await there.aio.poll(IN_TIME)
        return await there.aio.recv(), await there.aio.recv_bytes()

    assert asyncio.run(main()) == ({"a": 1}, b"bytes")


def test_host_data_agent_that_does_not_come_is_told_with_what_its_command_said(monkeypatch):
    monkeypatch.setattr(command_engine, "_ENDING", 0.1)  # before a command is ended that does not end by itself
    command = [
        sys.executable,
        "-c",
        "print('Welcome!'); print('Password: ', end='', flush=True); import time; time.sleep(60)",
    ]
    with polyproc.get_context("command", command=[*command, "{agent}"], start_timeout=0.5) as context:
        process = context.Process(target=on_hosts.where)
        with pytest.raises(polyproc.ProcessError, match=r"did not call within 0.5 s(?s:.)*Welcome!\nPassword: "):
            process.start()


def test_host_data_workers_elsewhere_have_nothing_opened_here(hosts):
    """Memory is known by a process and a number: those that another host names are none of this one."""
    with hosts.Pool(1) as pool:
        with pytest.raises(polyproc.ProcessDied):
            pool.apply_async(on_hosts.hand_over_uninvited).get(IN_TIME)
        assert pool.apply(on_hosts.echo, (1,)) == 1
        pool.terminate()
        pool.join()


# -- on one host -------------------------------------------------------------------------------------------------------


@pytest.fixture
def pool_here(request):
    """A pool whose workers are on this host, and see that."""
    with request.getfixturevalue("hosts_here").Pool(2) as pool:
        yield pool
        pool.terminate()
        pool.join()


@pytest.fixture(scope="module")
def hosts_here():
    """A context with one node, which is this host."""
    with polyproc.get_context("command", hosts=["here"]) as context:
        context._nodes.all()
        yield context


def test_host_data_on_one_host_large_buffers_are_sent_through_nothing(pool_here, hosts_here, monkeypatch):
    [node] = hosts_here._nodes.all()
    sent = []
    post = node._wire.post
    monkeypatch.setattr(
        node._wire, "post", lambda *words, payload=b"": (sent.append(len(payload)), post(*words, payload=payload))
    )
    assert pool_here.apply(on_hosts.summary_of, (on_hosts.large(1, 2),)) == (SIZE, 1, 2, False)
    assert pool_here.apply(on_hosts.echo, (on_hosts.large(3, 4),)).summary() == (SIZE, 3, 4, False)
    assert sum(sent) < LITTLE
    eventually(lambda: not len(frames._handed))


def test_host_data_on_one_host_what_a_call_changes_is_its_own(pool_here):
    made = on_hosts.large(1, 2)
    calls = [pool_here.apply_async(on_hosts.change_in_place, (made,)) for _ in range(3)]
    assert [call.get(IN_TIME) for call in calls] == [(SIZE, 77, 2, False)] * 3
    assert made.summary()[:3] == (SIZE, 1, 2)
    back = pool_here.apply(on_hosts.echo, (made,))
    assert on_hosts.change_in_place(back) == (SIZE, 77, 2, False)


def test_host_data_on_one_host_many_large_calls_take_few_descriptors(pool_here):
    made = on_hosts.Large(bytearray(frames.IN_MEMORY))
    before = len(os.listdir("/proc/self/fd"))
    calls = [pool_here.apply_async(on_hosts.echo, (made,)) for _ in range(2 * frames.MAX_IN_MEMORY)]
    assert len(os.listdir("/proc/self/fd")) < before + 4 * frames.MAX_IN_MEMORY
    assert {call.get(IN_TIME).summary()[0] for call in calls} == {frames.IN_MEMORY}


def test_host_data_on_one_host_results_outlive_their_workers(hosts_here):
    with hosts_here.Pool(1, maxtasksperchild=1) as pool:
        for number in range(3):
            assert pool.apply(on_hosts.large, (number, 2)).summary() == (SIZE, number, 2, False)
        pool.terminate()
        pool.join()


def test_host_data_on_one_host_a_killed_worker_leaves_no_memory(pool_here):
    with pytest.raises(polyproc.ProcessDied):
        pool_here.apply(on_hosts.die_with, (on_hosts.large(1, 2),))
    assert pool_here.options(retries=2).apply(on_hosts.summary_of, (on_hosts.large(1, 2),)) == (SIZE, 1, 2, False)
    eventually(lambda: not len(frames._handed))
