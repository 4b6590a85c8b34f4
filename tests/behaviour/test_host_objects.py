"""Queues, locks, pipes, values and managers of a remote context, between this process and others on two nodes."""

import asyncio
import queue
import threading

import pytest

import polyproc
from conftest import eventually
from polyproc.connection import wait
from support import on_hosts

IN_TIME = 30


@pytest.fixture(scope="module")
def hosts(hosts_here_and_elsewhere):
    """A context with two nodes."""
    return hosts_here_and_elsewhere


@pytest.fixture
def start(hosts):
    """Starts processes; those that are left are killed."""
    with on_hosts.starting(hosts, IN_TIME) as start:
        yield start


@pytest.mark.parametrize("kind", ["Queue", "JoinableQueue", "SimpleQueue"])
def test_host_objects_queues_go_both_ways(hosts, start, kind):
    tasks, results = getattr(hosts, kind)(), getattr(hosts, kind)()
    for _ in range(2):
        start(on_hosts.double_all, tasks, results)
    for number in range(40):
        tasks.put(number)
    assert sorted(results.get() for _ in range(40)) == [2 * number for number in range(40)]
    for _ in range(2):
        tasks.put(None)
    eventually(tasks.empty)


def test_host_objects_queue_says_full_empty_and_closed(hosts):
    made = hosts.Queue(1)
    with pytest.raises(queue.Empty):
        made.get_nowait()
    with pytest.raises(queue.Empty):
        made.get(timeout=0.01)
    made.put("item")
    assert (made.qsize(), made.full(), made.empty()) == (1, True, False)
    with pytest.raises(queue.Full):
        made.put("another", timeout=0.01)
    made.close()
    made.join_thread()
    with pytest.raises(ValueError, match="is closed"):
        made.put("item")


def test_host_objects_what_cannot_be_pickled_is_told_by_put(hosts):
    made = hosts.Queue()
    reader, writer = polyproc.Pipe()
    with reader, writer, pytest.raises(polyproc.ProcessError, match="cannot pass a descriptor"):
        made.put(reader)
    with pytest.raises(TypeError):
        made.put(threading.Lock())
    assert made.empty()


def test_host_objects_joinable_queue_waits_until_all_is_done(hosts, start):
    made = hosts.JoinableQueue()
    for item in (1, 2, None):
        made.put(item)
    start(on_hosts.do_all, made)
    made.join()
    with pytest.raises(ValueError):
        made.task_done()


@pytest.mark.parametrize("kind", ["Lock", "RLock", "Semaphore", "BoundedSemaphore", "Condition"])
def test_host_objects_locks_exclude(hosts, start, kind):
    lock, value = getattr(hosts, kind)(), hosts.Value("i", 0, lock=False)
    processes = [start(on_hosts.add_up, lock, value, 20) for _ in range(3)]
    on_hosts.add_up(lock, value, 20)
    assert [process.exception(IN_TIME) for process in processes] == [None] * 3
    assert value.value == 80


def test_host_objects_value_has_its_lock(hosts, start):
    value = hosts.Value("q", 5)
    processes = [start(on_hosts.add_up_by_its_lock, value, 20) for _ in range(2)]
    for process in processes:
        process.result(IN_TIME)
    assert value.value == 45


@pytest.mark.filterwarnings("ignore::polyproc.OwnerDiedWarning")  # where it was in memory, one is told so
@pytest.mark.parametrize("kind", ["Lock", "RLock", "BoundedSemaphore", "Condition"])
def test_host_objects_lock_of_a_killed_process_is_let_go(hosts, start, kind):
    lock, taken = getattr(hosts, kind)(), hosts.Event()
    process = start(on_hosts.take_and_hold, lock, taken)
    assert taken.wait(IN_TIME)
    assert not lock.acquire(False)
    process.kill()
    assert lock.acquire(timeout=IN_TIME)
    lock.release()


def test_host_objects_item_that_a_killed_process_waited_for_stays(hosts, start):
    made, waits = hosts.Queue(), hosts.Event()
    process = start(on_hosts.get_and_hold, made, waits)
    assert waits.wait(IN_TIME)
    process.kill()
    process.join(IN_TIME)
    made.put("item")
    assert made.get(timeout=IN_TIME) == "item"


def test_host_objects_locks_say_what_is_wrong(hosts):
    with pytest.raises(ValueError, match="released too many times"):
        hosts.Lock().release()
    with pytest.raises(AssertionError, match="not owned"):
        hosts.RLock().release()
    with pytest.raises(ValueError):
        hosts.BoundedSemaphore(2).release()
    semaphore = hosts.Semaphore(2)
    assert semaphore.acquire()
    assert semaphore.get_value() == 1
    assert not semaphore.locked()
    lock = hosts.Lock()
    with lock:
        assert lock.locked()
        assert not lock.acquire(timeout=0.01)


def test_host_objects_event_and_barrier_and_condition_bring_processes_together(hosts, start):
    barrier, numbers = hosts.Barrier(3), hosts.SimpleQueue()
    for _ in range(2):
        start(on_hosts.meet, barrier, numbers)
    on_hosts.meet(barrier, numbers)
    assert sorted(numbers.get() for _ in range(3)) == [0, 1, 2]
    condition, ready = hosts.Condition(hosts.RLock()), hosts.Event()
    process = start(on_hosts.wait_for_notice, condition, ready)
    assert ready.wait(IN_TIME)
    with condition:  # it waits once it has let the lock go
        condition.notify_all()
    assert process.result(IN_TIME) is True


def test_host_objects_pipe_goes_both_ways_and_ends(hosts, start):
    ours, theirs = hosts.Pipe()
    process = start(on_hosts.echo_all, theirs)
    theirs.close()
    del theirs
    for message in ("text", b"", None, list(range(1000))):
        ours.send(message)
        assert ours.poll(IN_TIME)
        assert ours.recv() == message
    ours.close()
    del ours
    assert process.result(IN_TIME) == "the end"


def test_host_objects_pipe_tells_of_the_end_of_a_killed_process(hosts, start):
    ours, theirs = hosts.Pipe()
    process = start(on_hosts.echo_all, theirs)
    ours.send("message")
    assert ours.recv() == "message"
    del theirs
    process.kill()
    with pytest.raises(EOFError):
        ours.recv()
    with pytest.raises(BrokenPipeError):
        ours.send("message")


def test_host_objects_one_way_pipe_refuses_the_other(hosts):
    reader, writer = hosts.Pipe(duplex=False)
    writer.send_bytes(b"some bytes", 5)
    assert reader.recv_bytes() == b"bytes"
    with pytest.raises(OSError, match="read-only"):
        reader.send(1)
    with pytest.raises(OSError, match="write-only"):
        writer.recv()
    with pytest.raises(OSError, match="write-only"):
        writer.fileno()
    reader.close()
    with pytest.raises(OSError, match="is closed"):
        reader.recv()


def test_host_objects_pipes_can_be_waited_for_beside_others(hosts, start):
    """Each has a descriptor: ready while there is a message, and at the end; and not after what was there was got."""
    pipes = [hosts.Pipe() for _ in range(2)]
    process = start(on_hosts.echo_all, pipes[0][1])
    ends = [ours for ours, _ in pipes]
    assert wait([*ends, process.sentinel], 0.05) == []
    for number in range(20):
        ends[0].send(number)
        assert wait([*ends, process.sentinel], IN_TIME) == [ends[0]]
        assert ends[0].recv() == number
        assert wait(ends, 0) == []
    pipes[1][1].send("one")
    pipes[1][1].send("two")
    for text in ("one", "two"):
        assert wait(ends, IN_TIME) == [ends[1]]
        assert ends[1].recv() == text
    process.kill()
    process.join(IN_TIME)
    del pipes
    assert wait(ends[:1], IN_TIME) == ends[:1]
    with pytest.raises(EOFError):
        ends[0].recv()
    for end in ends:
        end.close()


def test_host_objects_array_and_managers_objects_are_shared(hosts, start):
    array, dictionary = hosts.Array("i", 4), hosts.Manager().dict()
    start(on_hosts.fill, array, dictionary).result(IN_TIME)
    assert list(array) == array[:] == [0, 1, 4, 9]
    assert dictionary["host"] in ("one", "two")
    text = hosts.Array("c", b"text")
    assert (text.value, text.raw, len(text)) == (b"text", b"text", 4)


def test_host_objects_travel_through_each_other(hosts, start):
    outer, inner = hosts.Queue(), hosts.Queue()
    start(on_hosts.make_and_send, outer, inner)
    outer.get(timeout=IN_TIME).put("found")
    assert inner.get(timeout=IN_TIME) == "found"


def test_host_objects_need_no_server_on_their_host(hosts, start, request):
    is_here = "elsewhere" not in request.node.name
    objects = [hosts.Lock(), hosts.RLock(), hosts.Condition(), hosts.Semaphore(), hosts.Queue(), hosts.JoinableQueue()]
    objects += [hosts.SimpleQueue(), hosts.Event(), hosts.Barrier(1)]
    is_in_memory = is_here and bool(polyproc.native)
    assert start(on_hosts.use_all, *objects).result(IN_TIME) == [is_in_memory] * len(objects)
    assert start(on_hosts.use_value, hosts.Value("i", 6)).result(IN_TIME) == (7, is_here)


def test_host_objects_exclude_processes_of_all_hosts(hosts, start, hosts_elsewhere):
    """Locks and queues are one object, whether somebody has them in memory or asks the server."""
    lock, value, numbers = hosts.Lock(), hosts.Value("i", 0, lock=False), hosts.Queue(5)
    far = hosts_elsewhere.Process(target=on_hosts.add_up, args=(lock, value, 50))
    far.start()
    near = start(on_hosts.add_up, lock, value, 50)
    assert near.exception(IN_TIME) is far.exception(IN_TIME) is None
    assert value.value == 100
    far = hosts_elsewhere.Process(target=on_hosts.put_all, args=(numbers, range(40)))
    far.start()
    near = start(on_hosts.put_all, numbers, range(40))
    assert sorted(numbers.get(timeout=IN_TIME) for _ in range(80)) == sorted([*range(40)] * 2)
    near.join(IN_TIME)
    far.join(IN_TIME)


def test_host_objects_lock_that_others_have_taken_over_is_not_let_go(hosts, start, hosts_elsewhere):
    """Any process may release a lock; who held it before and dies takes nothing from the next."""
    lock, taken = hosts.Lock(), hosts.Event()
    far = hosts_elsewhere.Process(target=on_hosts.take_and_hold, args=(lock, taken))
    far.start()
    assert taken.wait(IN_TIME)
    lock.release()
    taken.clear()
    start(on_hosts.take_and_hold, lock, taken)
    assert taken.wait(IN_TIME)
    far.kill()
    far.join(IN_TIME)
    assert not lock.acquire(timeout=0.5)


def test_host_objects_notification_goes_to_who_lives(hosts, start, hosts_elsewhere):
    condition, ready = hosts.Condition(), hosts.Semaphore(0)
    dead = hosts_elsewhere.Process(target=on_hosts.wait_for_notice, args=(condition, ready))
    dead.start()
    assert ready.acquire(timeout=IN_TIME)
    with condition:  # it waits
        dead.kill()
    dead.join(IN_TIME)
    living = start(on_hosts.wait_for_notice, condition, ready)
    assert ready.acquire(timeout=IN_TIME)
    with condition:
        condition.notify()
    assert living.result(IN_TIME) is True


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_host_objects_serve_processes_of_this_host_too(hosts, method):
    made = hosts.Queue()
    process = polyproc.get_context(method).Process(target=on_hosts.put_all, args=(made, [1, 2]))
    process.start()
    assert [made.get(timeout=IN_TIME), made.get(timeout=IN_TIME)] == [1, 2]
    process.join(IN_TIME)
    assert process.exitcode == 0


def test_host_objects_memory_that_hosts_do_not_share_is_refused(hosts):
    for make in (hosts.RawValue, hosts.RawArray):
        with pytest.raises(polyproc.ProcessError, match=r"engine 'command'.*share no memory"):
            make("i", 1)
    with pytest.raises(polyproc.ProcessError, match="memory that is shared"):
        hosts.Value("i").get_obj()


def test_host_objects_can_be_awaited(hosts):
    async def main():
        made, lock = hosts.Queue(), hosts.Lock()
        async with lock.aio:
            await made.aio.put("item")
        assert await made.aio.get() == "item"
        return made.empty()

    assert asyncio.run(main())
