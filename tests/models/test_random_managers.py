"""Random clients of one manager: each sees what it did itself, all see what all did, and a killed client holds nobody up."""

import ctypes
from collections import Counter

import pytest

from models import test_random_locks as locks
from models import test_random_queues as queues
from models import test_random_waits as waits
from support.episodes import Chaos, Episode

CALM, ROUGH = Chaos(), Chaos(kills=0.01, most_kills=1)
RAISING = Chaos(kills=0.01, most_kills=1, raising=True)


class Managed:
    """A server for an episode."""

    def __init__(self, run):
        self.manager = run.ctx.Manager()

    def __enter__(self):
        return self.manager

    def __exit__(self, *error):
        self.manager.shutdown()


# -- containers ------------------------------------------------------------------------------------------------------------


def keep(actor, table, common, space, times):
    """Change entries of one's own, and see what one has written; add to what is everybody's."""
    own = {}
    for number in range(times):
        key = (actor.name, actor.chance.randrange(5))
        dice = actor.chance.randrange(9)
        if dice < 3:
            before = own.get(key)
            outcome = attempt(actor, table.__setitem__, key, number)
            if outcome.done:
                own[key] = number
            else:
                now = table.get(key)
                assert now in (before, number)
                if now is not None:
                    own[key] = now
        elif dice == 3:
            own[key] = table.setdefault(key, own.get(key))
            assert table.pop(key) == own.pop(key)
        elif dice == 4:
            outcome = attempt(actor, table.get, key, "none")
            assert not outcome.done or outcome.value == own.get(key, "none"), outcome
        elif dice == 5:
            assert (key in table) == (key in own)
        elif dice == 6:
            outcome = attempt(actor, table.copy)
            if outcome.done:
                seen = {k: v for k, v in outcome.value.items() if k[0] == actor.name}
                assert seen == own, f"{seen} is not {own}"
        elif dice == 7:
            append(actor, common, number)
        else:
            name = actor.name.replace("-", "_")
            setattr(space, name, number)
            assert getattr(space, name) == number
        actor.pause()


def attempt(actor, call, *args):
    outcome = actor.attempt(call, *args)
    if not outcome.done and not outcome.interrupted:
        raise outcome.error
    return outcome


def append(actor, where, number):
    actor.note("append?", number)
    if attempt(actor, where.append, (actor.name, number)).done:
        actor.note("appended", number)


def nest(actor, outer, times):
    """Use lists in a list: proxies that come out of a proxy, and go."""
    for number in range(times):
        inner = attempt(actor, outer.__getitem__, actor.chance.randrange(len(outer)))
        if inner.done:
            append(actor, inner.value, number)
            assert (actor.name, number) in inner.value[:] or actor.raising
        actor.pause()


def check_appended(run, found):
    """Fail if something was appended twice, or not at all, or out of turn."""
    sure, begun = set(), set()
    for name, lines in run.records("").items():
        begun |= {(name, line[1]) for line in lines if line[0] == "append?"}
        sure |= {(name, line[1]) for line in lines if line[0] == "appended"}
    assert not [item for item, times in Counter(found).items() if times > 1], "appended twice"
    assert sure <= set(found) <= begun, f"lost {sure - set(found)}, not appended {set(found) - begun}"


def containers_episode(method, seed, chaos, times=30):
    with Episode(method, seed, chaos) as run, Managed(run) as manager:
        table, common, space = manager.dict(), manager.list(), manager.Namespace()
        for k in range(3):
            run.start(f"w{k}", keep, table, common, space, times)
        run.run()
        run.check()
        check_appended(run, list(common))
        queues.in_order("the list", list(common))


def nested_episode(method, seed, chaos, times=25):
    with Episode(method, seed, chaos) as run, Managed(run) as manager:
        outer = manager.list([manager.list() for _ in range(3)])
        for k in range(3):
            run.start(f"w{k}", nest, outer, times)
        run.run()
        run.check()
        check_appended(run, [item for inner in outer for item in inner])


# -- what waits ------------------------------------------------------------------------------------------------------------


def queue_episode(method, seed, bound, chaos, times):
    with Episode(method, seed, chaos) as run, Managed(run) as manager:
        queue = (manager.JoinableQueue if run.chance.random() < 0.5 else manager.Queue)(bound)
        for k in range(3):
            run.start(f"w{k}", queues.use, queue, bound, times, False)
        run.run()
        run.check()
        # What a call that was interrupted had taken goes back to the head, when others may have got what came after it.
        queues.Model(run, queues.drain(queue, False, 0.05), ordered=False).check(plain=False)


def lock_episode(method, seed, kind, chaos, times=30):
    with Episode(method, seed, chaos) as run, Managed(run) as manager:
        tokens = locks.TOKENS[kind]
        lock = getattr(manager, kind)(*([tokens] if tokens > 1 else []))
        shared = run.ctx.RawArray(ctypes.c_uint64, 2)
        for k in range(3):
            run.start(f"w{k}", locks.use, lock, kind, shared, times)
        run.run()
        run.check()
        if tokens == 1:
            locks.check_alone(run, shared, told=False)
        if kind != "Semaphore":
            for _ in range(tokens):
                assert lock.acquire(True, 20), "a killed client's hold stays"


def condition_episode(method, seed, chaos, times=25):
    with Episode(method, seed, chaos) as run, Managed(run) as manager:
        condition, shared = manager.Condition(), run.ctx.RawArray(ctypes.c_int64, 3)
        for k in range(3):
            run.start(f"w{k}", waits.trade, condition, shared, times)
        run.run(each_turn=lambda: waits.stock(condition, shared))
        run.check()
        used = sum(line[0] == "used" for lines in run.records("").values() for line in lines)
        assert abs(shared[waits.USED] - used) <= len(run.killed), "who is inside a condition is not alone"


def event_episode(method, seed, chaos, times=30):
    with Episode(method, seed, chaos) as run, Managed(run) as manager:
        event, sets = manager.Event(), []
        for k in range(3):
            run.start(f"w{k}", waits.signal_and_wait, event, times)
        run.run(each_turn=lambda: sets.append(waits.set_at(event)))
        run.check()
        waits.check_event({**run.records(""), "the episode": sets}, run.killed)


def barrier_episode(method, seed, times=15):
    with Episode(method, seed, CALM) as run, Managed(run) as manager:
        barrier, shared = manager.Barrier(3), run.ctx.RawArray(ctypes.c_int64, 2)
        for k in range(3):
            run.start(f"w{k}", waits.meet, barrier, shared, 3, times, False)
        run.run()
        places = Counter(line[1] for lines in run.records("").values() for line in lines if line[0] == "met")
        assert places == dict.fromkeys(range(3), times)


EPISODES = {
    "containers": lambda method, seed, times: containers_episode(method, seed, RAISING, times),
    "nested": lambda method, seed, times: nested_episode(method, seed, RAISING, times),
    "queue": lambda method, seed, times: queue_episode(method, seed, 3, RAISING, times),
    "Lock": lambda method, seed, times: lock_episode(method, seed, "Lock", ROUGH, times),
    "RLock": lambda method, seed, times: lock_episode(method, seed, "RLock", ROUGH, times),
    "BoundedSemaphore": lambda method, seed, times: lock_episode(method, seed, "BoundedSemaphore", ROUGH, times),
    "condition": lambda method, seed, times: condition_episode(method, seed, ROUGH, times),
    "event": lambda method, seed, times: event_episode(method, seed, RAISING, times),
    "barrier": lambda method, seed, times: barrier_episode(method, seed, times),
}


@pytest.mark.parametrize("what", EPISODES)
def test_random_clients(what, seed):
    EPISODES[what]("fork", f"{seed}-{what}", 25)


@pytest.mark.parametrize("what", ["queue", "condition"])
@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_random_clients_that_start_afresh(method, what, seed):
    EPISODES[what](method, f"{seed}-{what}", 25)


@pytest.mark.chaos
def test_many_random_programs(method, seeds):
    for seed in seeds:
        for what, episode in EPISODES.items():
            episode(method, f"{seed}-{what}", 100)
