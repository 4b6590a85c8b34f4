import threading
import time
import warnings

import pytest
import targets

import polyproc

DIED = "a process that held a lock died"


def started(target, *args, **options):
    process = polyproc.Process(target=target, args=args, **options)
    process.start()
    return process


def killed_owner_of(lock):
    ours, theirs = polyproc.Pipe()
    process = started(targets.hold, lock, theirs)
    assert ours.recv() == "held"
    assert lock.owner == process.pid
    return process


@pytest.mark.parametrize("kind", ["Lock", "RLock"])
def test_lock_of_a_killed_owner_is_handed_on(kind):
    lock = getattr(polyproc, kind)()
    process = killed_owner_of(lock)
    assert not lock.acquire(timeout=0.05)
    process.kill()
    process.join()
    with pytest.warns(polyproc.OwnerDiedWarning, match=DIED):
        assert lock.acquire(timeout=30)
    assert lock.recovered
    lock.release()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert lock.acquire(False)
    assert not lock.recovered
    lock.release()


def test_who_waits_for_a_lock_gets_it_when_its_owner_is_killed():
    lock = polyproc.Lock()
    process = killed_owner_of(lock)
    ours, theirs = polyproc.Pipe()
    waiter = started(targets.hold_in_turn, lock, theirs)
    time.sleep(0.3)
    process.kill()
    assert ours.recv() == "held"
    assert lock.owner == waiter.pid
    ours.send("go on")
    waiter.join()
    process.join()
    assert lock.acquire(timeout=30)
    assert not lock.recovered
    lock.release()


def test_warning_that_is_an_error_leaves_the_lock_free():
    lock = polyproc.Lock()
    process = killed_owner_of(lock)
    process.kill()
    process.join()
    with warnings.catch_warnings(), pytest.raises(polyproc.OwnerDiedWarning):
        warnings.simplefilter("error")
        lock.acquire()
    assert lock.acquire(False)
    lock.release()


def test_process_that_ends_in_good_order_leaves_its_lock_held():
    lock = polyproc.Lock()
    process = started(targets.hold_and_end, lock, False)
    process.join()
    assert process.exitcode == 0
    assert not lock.acquire(timeout=0.1)
    lock.release()
    assert lock.acquire(False)
    assert not lock.recovered
    lock.release()


def test_lock_may_be_released_by_another_process():
    lock = polyproc.Lock()
    lock.acquire()
    process = started(targets.release, lock)
    assert lock.acquire(timeout=30)
    process.join()
    lock.release()


def killed_holder_of(semaphore, target):
    ours, theirs = polyproc.Pipe()
    process = started(target, semaphore, theirs)
    assert ours.recv() == "held"
    process.kill()
    process.join()


@pytest.mark.parametrize(
    ("kind", "target", "comes_back"),
    [
        ("BoundedSemaphore", targets.hold, True),
        ("BoundedSemaphore", targets.hold_in_block, True),
        ("Semaphore", targets.hold_in_block, True),
        ("Semaphore", targets.hold, False),
    ],
)
def test_token_of_a_killed_process_comes_back_if_it_cannot_be_a_message(kind, target, comes_back):
    semaphore = getattr(polyproc, kind)(2)
    killed_holder_of(semaphore, target)
    assert semaphore.acquire(False)
    assert not semaphore.recovered
    assert semaphore.acquire(timeout=30 if comes_back else 0.7) is comes_back
    assert semaphore.recovered is comes_back
    assert not semaphore.acquire(False)
    semaphore.release()
    assert semaphore.acquire(False)
    assert not semaphore.recovered


def test_who_waits_for_a_token_gets_that_of_a_process_that_is_killed():
    semaphore = polyproc.BoundedSemaphore(1)
    ours, theirs = polyproc.Pipe()
    process = started(targets.hold, semaphore, theirs)
    assert ours.recv() == "held"
    waiter = started(targets.hold, semaphore, theirs)
    assert not ours.poll(0.3)
    process.kill()
    assert ours.recv() == "held"
    waiter.kill()
    waiter.join()
    process.join()
    assert semaphore.acquire(timeout=30)


def test_tokens_are_counted_however_they_are_taken_and_given_back():
    for value in (0, 1, 3, 32, 33):
        semaphore = polyproc.Semaphore(value)
        for left in reversed(range(value)):
            assert semaphore.acquire(False)
            assert semaphore.get_value() == left
        assert not semaphore.acquire(False)
        for count in range(value + 2):
            assert semaphore.get_value() == count
            semaphore.release()
        with semaphore:
            assert semaphore.acquire(False)
            assert semaphore.get_value() == value
            semaphore.release()
        assert semaphore.get_value() == value + 2
    bounded = polyproc.BoundedSemaphore(2)
    with bounded, bounded:
        assert not bounded.acquire(False)
    with pytest.raises(ValueError, match="released too many times"):
        bounded.release()


def test_process_that_ends_in_good_order_keeps_its_token():
    semaphore = polyproc.BoundedSemaphore(1)
    process = started(targets.hold_and_end, semaphore, False)
    process.join()
    assert process.exitcode == 0
    assert not semaphore.acquire(timeout=0.7)
    semaphore.release()
    assert semaphore.acquire(False)
    assert not semaphore.recovered


def test_threads_may_be_the_first_to_use_a_lock_all_at_once():
    for _ in range(30):
        lock = polyproc.Lock()
        start = threading.Barrier(4)
        done = []

        def use(lock=lock, start=start, done=done):
            start.wait(20)
            with lock:
                done.append(1)

        threads = [threading.Thread(target=use) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        assert done == [1] * 4


@pytest.mark.slow
def test_threads_and_processes_that_wait_for_tokens_miss_none():
    semaphore = polyproc.Semaphore(1)
    processes = [started(targets.take_and_give, semaphore, 60) for _ in range(2)]
    threads = [threading.Thread(target=targets.take_and_give, args=(semaphore, 60)) for _ in range(2)]
    for thread in threads:
        thread.start()
    semaphore.release()
    for each in (*threads, *processes):
        each.join()
    assert [process.exitcode for process in processes] == [0, 0]
    assert semaphore.get_value() == 2


def test_processes_that_are_killed_again_and_again_in_a_locks_hold_do_not_stop_others():
    value = polyproc.Value("q", 0)
    ours, theirs = polyproc.Pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", polyproc.OwnerDiedWarning)
        for _ in range(2):
            processes = [started(targets.count_up_for_ever, value, theirs) for _ in range(2)]
            for _ in processes:
                assert ours.recv() == "begins"
            for process in processes:
                process.kill()
                process.join()
            with value.get_lock():
                before = value.value
            assert before > 0
    process = started(targets.count_up, value, 10)
    process.join(40)
    assert process.exitcode == 0
    assert value.value >= before + 10


def test_consumer_that_is_killed_while_it_waits_does_not_stop_others():
    queue = polyproc.Queue()
    ours, theirs = polyproc.Pipe()
    process = started(targets.take_one_and_wait, queue, theirs)
    queue.put("first")
    assert ours.recv() == "first"
    time.sleep(0.2)
    process.kill()
    process.join()
    queue.put("second")
    assert queue.get(timeout=30) == "second"


def test_producer_that_is_killed_loses_no_others_items():
    queue = polyproc.Queue()
    process = started(targets.put_for_ever, queue)
    found = [queue.get(timeout=30) for _ in range(200)]
    assert found == list(range(200))
    process.kill()
    process.join()
    queue.put("ours")
    for item in iter(lambda: queue.get(timeout=30), "ours"):
        assert item == found[-1] + 1
        found.append(item)
