import queue
import time

import pytest
import targets

import polyproc


def started(target, *args, **options):
    process = polyproc.Process(target=target, args=args, **options)
    process.start()
    return process


def test_pipe_carries_objects_both_ways():
    ours, theirs = polyproc.Pipe()
    process = started(targets.echo, theirs)
    theirs.close()
    for thing in ([1, 2], b"x" * 5_000_000, {"a": None}):
        ours.send(thing)
        assert ours.recv() == thing
    assert not ours.poll(0.05)
    ours.close()
    process.join(30)
    assert process.exitcode == 0


def test_end_of_a_pipe_is_told():
    reader, writer = polyproc.Pipe(duplex=False)
    writer.send_bytes(b"abc")
    writer.close()
    assert reader.recv_bytes() == b"abc"
    with pytest.raises(EOFError):
        reader.recv()
    reader, writer = polyproc.Pipe(duplex=False)
    reader.close()
    with pytest.raises(BrokenPipeError):
        writer.send(1)
    writer.close()


def test_queue_has_what_several_processes_have_put():
    shared = polyproc.Queue()
    processes = [started(targets.put_many, shared, name, 50) for name in "ab"]
    found = [shared.get(timeout=30) for _ in range(100)]
    assert sorted(found) == [(name, number) for name in "ab" for number in range(50)]
    for process in processes:
        process.join()


def test_bounded_queue_is_full_and_empty():
    shared = polyproc.Queue(1)
    shared.put(1)
    with pytest.raises(queue.Full):
        shared.put(2, timeout=0.05)
    assert shared.get(timeout=30) == 1
    with pytest.raises(queue.Empty):
        shared.get(timeout=0.05)


def test_simple_queues_go_to_a_child_and_back():
    tasks, results = polyproc.SimpleQueue(), polyproc.SimpleQueue()
    process = started(targets.take_until_none, tasks, results)
    for item in (1, "two", None):
        tasks.put(item)
    assert [results.get(), results.get()] == [1, "two"]
    process.join(30)


def test_joinable_queue_waits_for_its_tasks():
    shared = polyproc.JoinableQueue()
    process = started(targets.work_off, shared, daemon=True)
    for item in range(20):
        shared.put(item)
    shared.join()
    process.terminate()
    process.join()


def test_locked_value_counts_right():
    value = polyproc.Value("i", 0)
    processes = [started(targets.count_up, value, 200) for _ in range(2)]
    for process in processes:
        process.join(40)
    assert value.value == 400


def test_lock_is_one_holders():
    lock = polyproc.Lock()
    with lock:
        assert not lock.acquire(timeout=0.05)
        assert not lock.acquire(False)
    assert lock.acquire(False)
    lock.release()
    with pytest.raises(ValueError, match="too many times"):
        lock.release()
    recursive = polyproc.RLock()
    with recursive, recursive:
        assert "MainProcess, 2" in repr(recursive)
    with pytest.raises(AssertionError):
        recursive.release()


def test_semaphores_count():
    semaphore = polyproc.Semaphore(2)
    assert [semaphore.acquire(False) for _ in range(3)] == [True, True, False]
    semaphore.release()
    assert semaphore.get_value() == 1
    bounded = polyproc.BoundedSemaphore(1)
    with pytest.raises(ValueError, match="too many times"):
        bounded.release()


def test_event_condition_and_barrier_wake_children():
    found = polyproc.SimpleQueue()
    event, condition, barrier = polyproc.Event(), polyproc.Condition(), polyproc.Barrier(2)
    processes = [started(targets.wait_for_event, event, found)]
    event.set()
    assert found.get() is True
    processes.append(started(targets.wait_for_condition, condition, found))
    assert found.get() == "waits"
    with condition:
        condition.notify()
    assert found.get() is True
    processes.append(started(targets.meet, barrier, found))
    assert {barrier.wait(30), found.get()} == {0, 1}
    for process in processes:
        process.join(30)


def test_lock_and_connection_are_sent_through_a_queue():
    shared = polyproc.Queue()
    ours, theirs = polyproc.Pipe()
    shared.put((polyproc.Lock(), theirs))
    lock, connection = shared.get(timeout=30)
    with lock:
        connection.send(1)
        assert ours.recv() == 1


def test_arrays_and_raw_values_are_shared():
    array = polyproc.Array("d", 3)
    array[1] = 2.5
    assert array[:] == [0.0, 2.5, 0.0]
    assert polyproc.RawValue("i", 4).value == 4


def test_shared_memory_is_found_by_its_name():
    from polyproc.shared_memory import ShareableList, SharedMemory

    made = SharedMemory(create=True, size=100)
    made.buf[:3] = b"abc"
    found = SharedMemory(made.name)
    assert (made.size, bytes(found.buf[:3])) == (100, b"abc")
    with pytest.raises(FileExistsError):
        SharedMemory(made.name, create=True, size=10)
    found.close()
    made.close()
    with pytest.raises(FileNotFoundError):
        SharedMemory(made.name)
    items = ShareableList([1, "a", 2.0])
    assert list(ShareableList(name=items.shm.name)) == [1, "a", 2.0]
    items.shm.close()


def test_wait_ends_in_time():
    began = time.monotonic()
    reader, writer = polyproc.Pipe(duplex=False)
    assert not reader.poll(0.2)
    assert time.monotonic() - began < 10
    writer.close()
    reader.close()


@pytest.mark.slow
def test_barrier_is_looked_at_while_others_come():
    barrier, told = polyproc.Barrier(5), polyproc.SimpleQueue()
    processes = [started(targets.reset_once, barrier, told) for _ in range(4)]
    targets.reset_once(barrier, told)
    assert sorted(told.get() for _ in range(5)) == ["broken"] * 4 + ["reset"]
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 4
