"""SIGKILL at every crash point of the shared primitives (csrc/README.md), and at random: nobody is ever stuck."""

import os
import random
import signal
import threading
import time

import pytest

import polyproc
from support.crashes import SOON, ctx, die_at, ended, helper, is_asleep, killed, pytestmark  # noqa: F401


def take_and_give(lock):
    assert lock.acquire(timeout=SOON)
    lock.release()


@pytest.mark.parametrize("kind", ["Lock", "RLock"])
@pytest.mark.parametrize("point", ["lock.acquired", "lock.counted", "lock.owned"])
def test_lock_of_one_that_died_as_it_took_it(point, kind):
    lock = getattr(ctx, kind)()
    killed(die_at(point, lock.acquire))
    assert lock.acquire(timeout=SOON)
    assert lock.recovered
    lock.release()
    ended(helper(take_and_give, lock))


@pytest.mark.parametrize("kind", ["Lock", "RLock"])
def test_lock_of_one_that_died_as_it_gave_it_back(kind):
    lock = getattr(ctx, kind)()
    killed(die_at("lock.disowned", take_and_give, lock))
    assert lock.acquire(timeout=SOON)
    assert lock.recovered
    lock.release()
    ended(helper(take_and_give, lock))


def take_both(first, second):
    assert first.acquire(timeout=SOON)
    assert second.acquire(timeout=SOON)


def test_locks_of_one_that_died_as_it_handed_them_over():
    first, second = ctx.Lock(), ctx.Lock()
    killed(die_at("lock.handed", take_both, first, second))
    assert not first.acquire(timeout=0.1), "it was handed over, and nobody has given it back"
    first.release()
    assert second.acquire(timeout=SOON)
    assert second.recovered


def test_lock_that_a_dead_waiter_has_marked():
    lock = ctx.Lock()
    with lock:
        killed(die_at("lock.marked", lock.acquire))
    ended(helper(take_and_give, lock))


def test_lock_whose_woken_waiter_died():
    lock = ctx.Lock()
    lock.acquire()
    doomed = die_at("lock.woken", lock.acquire)
    is_asleep(doomed)
    other = helper(take_and_give, lock)
    is_asleep(other)
    lock.release()
    killed(doomed)
    ended(other)


def take_and_die_giving(lock, go):
    lock.acquire()
    go.wait()
    lock.release()


def test_lock_whose_giver_died_before_it_woke_anybody():
    lock, go = ctx.Lock(), ctx.Event()
    doomed = die_at("lock.released", take_and_die_giving, lock, go)
    while not lock.locked():
        time.sleep(0.001)
    waiter = helper(take_and_give, lock)
    is_asleep(waiter)
    go.set()
    killed(doomed)
    ended(waiter)


def test_token_of_one_that_died_as_it_took_it():
    for semaphore, act in ((ctx.BoundedSemaphore(1), "acquire"), (ctx.Semaphore(1), "__enter__")):
        killed(die_at("semaphore.taken", getattr(semaphore, act)))
        killed(die_at("semaphore.taken_over", getattr(semaphore, act)))
        assert semaphore.acquire(timeout=SOON)


def take_and_give_token(semaphore):
    assert semaphore.acquire(timeout=SOON)
    semaphore.release()


@pytest.mark.parametrize("point", ["semaphore.freed", "semaphore.counted"])
def test_token_that_was_given_back_without_a_wake_up(point):
    semaphore = ctx.Semaphore(0)
    waiters = [helper(take_and_give_token, semaphore) for _ in range(2)]
    for waiter in waiters:
        is_asleep(waiter)
    killed(die_at(point, semaphore.release))
    for waiter in waiters:
        ended(waiter)


def test_semaphore_whose_waiter_died_before_it_slept():
    semaphore = ctx.Semaphore(0)
    killed(die_at("semaphore.flagged", semaphore.acquire))
    waiter = helper(take_and_give_token, semaphore)
    is_asleep(waiter)
    semaphore.release()
    ended(waiter)


def test_token_whose_woken_waiter_died():
    semaphore = ctx.Semaphore(0)
    doomed = die_at("semaphore.woken", semaphore.acquire)
    is_asleep(doomed)
    other = helper(take_and_give_token, semaphore)
    is_asleep(other)
    semaphore.release()
    ended(other)
    semaphore.release()
    killed(doomed)


def wait_for(event):
    assert event.wait(SOON)


def test_event_whose_setter_died_before_it_woke_anybody():
    event = ctx.Event()
    waiter = helper(wait_for, event)
    is_asleep(waiter)
    killed(die_at("event.set", event.set))
    ended(waiter)
    assert event.is_set()


def wait_in(condition):
    with condition:
        assert condition.wait(SOON)


def notify(condition):
    with condition:
        condition.notify()


def test_event_whose_waiter_died_before_it_slept():
    event = ctx.Event()
    killed(die_at("event.marked", event.wait))
    waiter = helper(wait_for, event)
    is_asleep(waiter)
    event.set()
    ended(waiter)


@pytest.mark.parametrize("point", ["condition.entered", "condition.released"])
def test_condition_whose_waiter_died_before_it_slept(point):
    condition = ctx.Condition()
    killed(die_at(point, wait_in, condition))
    waiter = helper(wait_in, condition)
    is_asleep(waiter)
    with condition:
        condition.notify_all()
    ended(waiter)


@pytest.mark.parametrize("point", ["condition.permitted", "condition.issued"])
def test_condition_whose_notifier_died_before_it_moved_anybody(point):
    condition = ctx.Condition()
    waiter = helper(wait_in, condition)
    is_asleep(waiter)
    killed(die_at(point, notify, condition))
    ended(waiter)


def come(barrier):
    barrier.wait(SOON)


def test_barrier_whose_guard_died():
    barrier = ctx.Barrier(2)
    killed(die_at("barrier.guarded", come, barrier))
    other = helper(come, barrier)
    barrier.wait(SOON)
    ended(other)


def test_barrier_one_of_whose_members_died_when_it_had_arrived():
    barrier = ctx.Barrier(2)
    killed(die_at("barrier.arrived", come, barrier))
    assert barrier.wait(SOON) == 1


def test_barrier_whose_opener_died_before_it_woke_anybody():
    barrier = ctx.Barrier(2)
    waiter = helper(come, barrier)
    is_asleep(waiter)
    killed(die_at("barrier.opened", come, barrier))
    ended(waiter)


def test_barrier_whose_action_died():
    barrier = ctx.Barrier(2, lambda: os.kill(os.getpid(), signal.SIGKILL))
    first = helper(come_in_vain, barrier)
    is_asleep(first)
    last = helper(come, barrier)
    last.join(SOON)
    assert last.exitcode == -signal.SIGKILL
    ended(first)
    assert barrier.broken


def come_in_vain(barrier):
    try:
        barrier.wait(SOON)
    except threading.BrokenBarrierError:
        return
    raise AssertionError("it was let go")


@pytest.mark.parametrize("point", ["registry.claimed", "registry.renamed", "registry.settled"])
def test_process_that_died_as_it_came_into_the_registry(point):
    lock = ctx.Lock()
    for _ in range(3):
        killed(die_at(point, lock.acquire))
    ended(helper(take_and_give, lock))


def take_in_a_thread_and_die_waiting(lock, other):
    """Have the thread that is watched for the process end, and wait for another lock."""
    thread = threading.Thread(target=lock.acquire)
    thread.start()
    thread.join()
    other.acquire()


def test_process_that_died_as_another_of_its_threads_was_put_in():
    lock, other = ctx.Lock(), ctx.Lock()
    with other:
        killed(die_at("registry.rearmed", take_in_a_thread_and_die_waiting, lock, other))
    assert lock.acquire(timeout=SOON)
    assert lock.recovered


def test_process_that_died_as_it_took_a_cell():
    killed(die_at("chunk.bumped", ctx.Lock))
    locks = [ctx.Lock() for _ in range(2000)]
    assert all(lock.acquire(False) for lock in locks)


# -- at random ---------------------------------------------------------------------------------------------------------


def work(lock, inside, count, semaphore, places, seed):
    """Go through critical sections for ever; end with 1 if ever two are inside."""
    rng = random.Random(seed)
    me = os.getpid()
    while True:
        with lock:
            if inside.value and not lock.recovered:
                os._exit(1)
            inside.value = me
            count.value += 1
            for _ in range(rng.randrange(200)):
                pass
            if inside.value != me:
                os._exit(2)
            inside.value = 0
        with semaphore:
            places.value += 0


@pytest.mark.parametrize(
    "kind, method", [("Lock", "fork"), ("RLock", "fork"), ("Lock", "spawn"), ("RLock", "forkserver")]
)
def test_random_kills_leave_nobody_stuck_and_never_two_owners(kind, method):
    seed = int(os.environ.get("POLYPROC_SEED", "0")) or random.randrange(2**31)
    seconds = float(os.environ.get("POLYPROC_CHAOS_SECONDS", "3"))
    print(f"POLYPROC_SEED={seed}")
    rng = random.Random(seed)
    starting = polyproc.get_context(method)
    lock, semaphore = getattr(ctx, kind)(), ctx.Semaphore(2)
    inside, count, places = ctx.RawValue("i", 0), ctx.RawValue("q", 0), ctx.RawValue("i", 0)

    def another():
        process = starting.Process(target=work, args=(lock, inside, count, semaphore, places, rng.randrange(2**31)))
        process.start()
        return process

    processes = [another() for _ in range(4)]
    kills = 0
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline or kills <= 20:
        time.sleep(rng.uniform(0, 0.004))
        index = rng.randrange(len(processes))
        victim = processes[index]
        assert victim.exitcode is None, f"seed {seed}: it ended by itself with {victim.exitcode}"
        os.kill(victim.pid, signal.SIGKILL)
        victim.join()
        assert victim.exitcode == -signal.SIGKILL, f"seed {seed}: two were inside"
        processes[index] = another()
        kills += 1
    before = count.value
    stuck = time.monotonic() + SOON
    while count.value < before + 100:
        assert time.monotonic() < stuck, f"seed {seed}: stuck after {kills} kills"
        time.sleep(0.01)
    for process in processes:
        process.kill()
        process.join()
    assert lock.acquire(timeout=SOON)
    assert [semaphore.acquire(timeout=SOON) for _ in range(2)] == [True, True]
    assert kills > 20
