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
