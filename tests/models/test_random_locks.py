"""Random holders of locks: never two inside, none is lost with a killed holder, and `recovered` says so."""

import ctypes
from collections import Counter

import pytest

from polyproc._base import native as _native
from support.episodes import Chaos, Episode

NATIVE = bool(_native.native)
KINDS = ("Lock", "RLock", "Semaphore", "BoundedSemaphore")
TOKENS = {"Lock": 1, "RLock": 1, "Semaphore": 2, "BoundedSemaphore": 2}
pytestmark = pytest.mark.filterwarnings("ignore::polyproc.OwnerDiedWarning")

# What lies in the shared array: who is inside (a number; 0: nobody), how often somebody was, and a place for each token.
HOLDER, COUNT = 0, 1


def number_of(actor):
    """Return a number that only this actor has."""
    return int.from_bytes(actor.name.encode()[-7:], "little") or 1


def use(actor, lock, kind, shared, times):
    """Take the lock, be inside, give it back, in several ways."""
    threads = []
    for _ in range(times):
        dice = actor.chance.random()
        if dice < 0.03 and NATIVE and not any(thread.is_alive() for thread in threads):
            actor.in_fork(use, lock, kind, shared, times // 4)
        elif dice < 0.06 and actor.is_main and len(threads) < 3:
            threads.append(actor.in_thread(use, lock, kind, shared, times // 4))
        take(actor, lock, kind, shared)
        actor.pause()
    for thread in threads:
        thread.join()


def take(actor, lock, kind, shared, depth=0):
    limit = actor.chance.choice((0, 0.001, 0.05, None))
    args = (False,) if limit == 0 else (True, limit)
    actor.note("take?")
    outcome = actor.attempt(lock.acquire, *args, limit=limit)
    if not outcome.done and not outcome.interrupted:
        raise outcome.error
    if not (outcome.done and outcome.value):
        actor.note("not")
        return
    if kind in ("Lock", "RLock"):
        alone_inside(actor, lock, kind, shared)
    else:
        actor.note("token")
        actor.pause()
        actor.note("give?")
    lock.release()
    actor.note("given")


def alone_inside(actor, lock, kind, shared):
    """Be inside, where nobody else may be; count, in two steps that a second one inside would spoil."""
    me = number_of(actor)
    before = shared[HOLDER]
    recovered = getattr(lock, "recovered", False)
    shared[HOLDER] = me
    if before:
        actor.note("found", before, recovered)
    count = shared[COUNT]
    actor.note("inside", count)
    for _ in range(actor.chance.randrange(4)):
        actor.pause()
        assert shared[HOLDER] == me, "somebody else is inside"
    if kind == "RLock" and actor.chance.random() < 0.3:
        for _ in range(actor.chance.randrange(1, 4)):
            again = actor.attempt(lock.acquire, limit=0)
            if again.done:
                assert again.value
                lock.release()
    shared[COUNT] = count + 1
    assert shared[HOLDER] == me, "somebody else is inside"
    actor.note("leave?")
    shared[HOLDER] = 0


def check_alone(run, shared, told=NATIVE):
    """Fail if a hold was taken over from one that lives, or a count was lost."""
    records = run.records("")
    killed = {name for name, lines in records.items() if not run.ended(name, lines)}
    numbers = {int.from_bytes(name.encode()[-7:], "little"): name for name in records}
    counts = Counter()
    for name, lines in records.items():
        for what, *rest in lines:
            if what == "found":
                assert numbers[rest[0]] in killed, f"{name} came in while {numbers[rest[0]]} was inside"
                assert rest[1] or not told, f"{name} was not told that {numbers[rest[0]]} had died inside"
            if what == "inside":
                counts[rest[0]] += 1
    # A killed holder may have been inside without having counted.
    twice = {count: times for count, times in counts.items() if times > 1}
    assert sum(twice.values()) - len(twice) <= len(killed), f"{twice}, killed: {killed}"


def episode(method, seed, kind, chaos, times=60, workers=3):
    with Episode(method, seed, chaos) as run:
        tokens = TOKENS[kind]
        lock = getattr(run.ctx, kind)(*([tokens] if tokens > 1 else []))
        shared = run.ctx.RawArray(ctypes.c_uint64, 2)
        for k in range(workers):
            run.start(f"w{k}", use, lock, kind, shared, times)
        run.run()
        run.check()
        if tokens == 1:
            check_alone(run, shared)
        # All is given back, but for what a killed holder of a plain semaphore had.
        lost = 0
        if kind == "Semaphore":
            lost = sum(lines[-1][0] in ("take?", "token", "give?") for lines in run.records("").values() if lines)
        for _ in range(tokens - lost):
            assert lock.acquire(timeout=20), "a token is lost"
        if not lost and kind != "RLock":
            assert not lock.acquire(False), "there is a token too many"


CALM, ROUGH = Chaos(), Chaos(kills=0.02, raising=True)


@pytest.mark.parametrize("kind", KINDS)
def test_random_program(method, kind, seed):
    episode(method, f"{seed}-{kind}", kind, ROUGH if NATIVE else CALM)


@pytest.mark.chaos
def test_many_random_programs(method, seeds):
    for seed in seeds:
        for kind in KINDS:
            episode(method, f"{seed}-{kind}", kind, ROUGH if NATIVE else CALM, times=200)
