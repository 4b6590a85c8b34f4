"""Random waiters: each notification wakes somebody who waits, a set event wakes all, a barrier opens for all or none."""

import ctypes
import time
from collections import Counter
from threading import BrokenBarrierError

import pytest

from polyproc._base import native as _native
from support.episodes import Chaos, Episode

NATIVE = bool(_native.native)
CALM, STOPS, ROUGH = Chaos(), Chaos(raising=True), Chaos(kills=0.02, raising=True)
pytestmark = pytest.mark.filterwarnings("ignore::polyproc.OwnerDiedWarning")

# -- conditions: goods are made and used up; each is worth one notification ----------------------------------------------

MADE, USED, TOLD = 0, 1, 2


def trade(actor, condition, shared, times):
    """Make goods and use them, with one notification for each; nobody waits for what was made."""
    for _ in range(times):
        actor.chance.choice((make, make_many, use, use))(actor, condition, shared)
        actor.pause()


def enter(actor, condition):
    """Take the condition's lock; say whether it was taken."""
    outcome = actor.attempt(condition.acquire, raising=False)
    if outcome.error is not None:
        raise outcome.error
    return outcome.value


def make(actor, condition, shared):
    enter(actor, condition)
    shared[MADE] += 1
    actor.attempt(condition.notify, raising=False)
    condition.release()


def make_many(actor, condition, shared):
    count = actor.chance.randrange(1, 4)
    enter(actor, condition)
    shared[MADE] += count
    actor.attempt(
        *((condition.notify, count) if actor.chance.random() < 0.5 else (condition.notify_all,)), raising=False
    )
    condition.release()


def use(actor, condition, shared):
    """Wait until there is something, or for a short time; after an interruption the lock is held as before."""
    limit = actor.chance.choice((0.0, 0.001, 0.02, 5.0, None))
    enter(actor, condition)
    depth = 1
    if actor.chance.random() < 0.2 and type(getattr(condition, "_lock", condition)).__name__ != "Lock":
        enter(actor, condition)
        depth = 2
    actor.note("wait?", limit)
    started = time.monotonic()
    interrupted = False
    while shared[MADE] <= shared[USED]:
        left = None if limit is None else limit - (time.monotonic() - started)
        if left is not None and left <= 0:
            break
        outcome = actor.attempt(condition.wait, left, limit=left)
        if outcome.interrupted and not outcome.done:
            interrupted = True
            # Who was to be woken in our place, if we were: as every user of conditions must.
            condition.notify()
            break
        if outcome.error is not None and not outcome.interrupted:
            raise outcome.error
    got = shared[MADE] > shared[USED]
    if got:
        shared[USED] += 1
    actor.note("used" if got else "interrupted" if interrupted else "late")
    for _ in range(depth):
        condition.release()


def stock(condition, shared):
    """Make enough for all who still wait."""
    if condition.acquire(timeout=1):
        if shared[MADE] <= shared[USED]:
            shared[MADE] += 1
            condition.notify()
        condition.release()


@pytest.mark.parametrize("lock", ["RLock", "Lock"])
def test_random_condition(method, lock, seed):
    condition_episode(method, f"{seed}-{lock}", lock, ROUGH if NATIVE else CALM)


def condition_episode(method, seed, lock, chaos, times=50):
    with Episode(method, seed, chaos) as run:
        condition = run.ctx.Condition(getattr(run.ctx, lock)())
        shared = run.ctx.RawArray(ctypes.c_int64, 3)
        for k in range(3):
            run.start(f"w{k}", trade, condition, shared, times)
        run.run(each_turn=lambda: stock(condition, shared))
        run.check()
        used = sum(line[0] == "used" for lines in run.records("").values() for line in lines)
        assert abs(shared[USED] - used) <= len(run.killed), "who is inside a condition is not alone"


# -- events ----------------------------------------------------------------------------------------------------------------


def signal_and_wait(actor, event, times):
    """Set, clear, look and wait."""
    for _ in range(times):
        dice = actor.chance.randrange(6)
        now = time.monotonic()
        if dice < 2:
            actor.attempt(event.set, raising=False)
            actor.note("set", now, time.monotonic())
        elif dice == 2:
            actor.attempt(event.clear, raising=False)
            actor.note("cleared", now, time.monotonic())
        elif dice == 3:
            outcome = actor.attempt(event.is_set, raising=False)
            actor.note("saw", outcome.value, now, time.monotonic())
        else:
            limit = actor.chance.choice((0, 0.001, 0.01, 5.0, None))
            actor.note("wait?")
            outcome = actor.attempt(event.wait, limit, limit=limit)
            if outcome.done:
                actor.note("saw", outcome.value, now, time.monotonic())
            elif not outcome.interrupted:
                raise outcome.error
        actor.pause()


def check_event(records, killed):
    """Fail on a look or a wait that found what the event never was between its begin and its end."""
    changes, looks = [], []
    for lines in records.values():
        for what, *rest in lines:
            if what in ("set", "cleared"):
                changes.append((what == "set", *rest))
            elif what == "saw":
                looks.append(rest)
    if killed:
        return  # a killed one may have set or cleared it without a note
    for value, begin, end in looks:
        before = max((start for what, start, over in changes if over < begin), default=None)
        # What may have been the last change when it was looked at: of those that overlap, and those that none surely follows.
        possible = {what for what, start, over in changes if start <= end and over >= begin}
        possible |= {
            what
            for what, start, over in changes
            if over < begin and not any(over < other and done < begin for _, other, done in changes)
        }
        if before is None:
            possible.add(False)
        assert value in possible, f"it was {value} between {begin} and {end}: {sorted(changes, key=lambda c: c[1])}"


def set_at(event):
    """Set an event, for those that wait without a time limit; return the note of it."""
    begin = time.monotonic()
    event.set()
    return "set", begin, time.monotonic()


def test_random_event(method, seed):
    event_episode(method, seed, STOPS if NATIVE else CALM)
    event_episode(method, seed, ROUGH if NATIVE else CALM)


def event_episode(method, seed, chaos, times=60):
    with Episode(method, seed, chaos) as run:
        event = run.ctx.Event()
        for k in range(3):
            run.start(f"w{k}", signal_and_wait, event, times)
        sets = []
        run.run(each_turn=lambda: sets.append(set_at(event)))
        run.check()
        check_event({**run.records(""), "the episode": sets}, run.killed)


# -- barriers --------------------------------------------------------------------------------------------------------------


class Action:
    """Counts generations; sometimes it raises."""

    def __init__(self, shared, fails):
        self.shared, self.fails = shared, fails

    def __call__(self):
        generation = self.shared[0]
        if self.fails and generation % 5 == 3 and not self.shared[1]:
            self.shared[1] = 1
            raise LookupError("the action fails")
        self.shared[1] = 0
        self.shared[0] = generation + 1


def meet(actor, barrier, shared, parties, times, rude):
    """Meet the others again and again; sometimes too early, or not; abort and reset."""
    for _ in range(times):
        dice = actor.chance.random()
        if rude and dice < 0.05:
            actor.attempt(barrier.abort, raising=False)
            actor.note("aborted")
        limit = actor.chance.choice((0.0005, 0.01)) if rude and dice > 0.9 else 0.1 if rude else 20.0
        actor.note("wait?", limit)
        outcome = actor.attempt(barrier.wait, limit, limit=limit)
        if outcome.done:
            generation = shared[0]
            actor.note("met", outcome.value, generation)
            assert 0 <= outcome.value < parties
        elif outcome.failed_with == "LookupError":
            actor.note("failed")
        elif isinstance(outcome.error, BrokenBarrierError) or outcome.interrupted:
            actor.note("broken")
        else:
            raise outcome.error
        if not outcome.done:
            if not rude:
                return
            actor.attempt(barrier.reset, raising=False)


def check_barrier(records, parties, orderly):
    """Fail where a generation has two of one place, or more than it may."""
    places = {}
    for name, lines in records.items():
        for what, *rest in lines:
            if what == "met":
                places.setdefault(rest[1], []).append((rest[0], name))
    for generation, found in places.items():
        numbers = Counter(place for place, _ in found)
        assert max(numbers.values()) == 1, f"generation {generation}: {found}"
        assert len(found) <= parties
        if orderly:
            assert len(found) == parties, f"generation {generation}: only {found}"


@pytest.mark.parametrize("manner", ["orderly", "rude", "killed"])
def test_random_barrier(method, manner, seed):
    if manner == "killed" and not NATIVE:
        pytest.skip("a killed process breaks what only the core repairs")
    barrier_episode(method, f"{seed}-{manner}", manner)


def barrier_episode(method, seed, manner, times=30):
    parties = 3
    chaos = ROUGH if manner == "killed" else Chaos(raising=NATIVE and manner == "rude")
    with Episode(method, seed, chaos) as run:
        shared = run.ctx.RawArray(ctypes.c_int64, 2)
        barrier = run.ctx.Barrier(parties, Action(shared, manner != "orderly"))
        for k in range(parties):
            run.start(
                f"w{k}",
                meet,
                barrier,
                shared,
                parties,
                times if manner == "orderly" else times // 2,
                manner != "orderly",
            )
        run.run()
        run.check()
        check_barrier(run.records(""), parties, manner == "orderly")
        if manner == "orderly":
            assert shared[0] == times


@pytest.mark.chaos
def test_many_random_programs(method, seeds):
    for seed in seeds:
        for lock in ("RLock", "Lock"):
            condition_episode(method, seed, lock, ROUGH if NATIVE else CALM, 200)
        event_episode(method, seed, STOPS if NATIVE else CALM, 200)
        event_episode(method, seed, ROUGH if NATIVE else CALM, 200)
        for manner in ("orderly", "rude", "killed") if NATIVE else ("orderly", "rude"):
            barrier_episode(method, seed, manner, 60)
