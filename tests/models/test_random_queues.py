"""Random producers and consumers: nothing is lost but what a killed consumer had taken, nothing comes twice or torn,
and each consumer gets each producer's items in their order."""

from collections import Counter

import pytest

from polyproc._base import native as _native
from support.episodes import Actor, Chaos, Episode

NATIVE = bool(_native.native)
KINDS = {
    "Queue": ("Queue", 0),
    "bounded": ("Queue", 3),
    "JoinableQueue": ("JoinableQueue", 0),
    "SimpleQueue": ("SimpleQueue", None),
}


class Slow:
    """Its pickle is opened by Python code."""

    def __init__(self, data):
        self.data = data

    def __reduce__(self):
        return slow, (self.data,)


def slow(data):
    """Make one again, in several steps."""
    made = Slow(b"")
    for _ in range(3):
        made.data = data
    return made


SIZES = (0, 1, 100, 5000, 70_000, 300_000)


def item_of(actor, number, large):
    """Choose an item: its producer, number, and a body that tells whether it is torn."""
    size = actor.chance.choice(SIZES if large else SIZES[:4])
    body = bytes([number % 256]) * size
    shape = actor.chance.randrange(4)
    return (actor.name, number, shape, Slow(body) if shape == 0 else bytearray(body) if shape == 1 else body)


def opened(item):
    """Return an item's producer and number; fail if it is torn."""
    who, number, shape, body = item
    body = body.data if shape == 0 else body
    assert len(body) in SIZES, f"{who} {number}: {len(body)} bytes"
    assert not body.strip(bytes([number % 256])), f"{who} {number} is torn"
    return who, number


def use(actor, queue, bound, times, large):
    """Put and get at random, alone and many at once, with and without time limits."""
    state = Counter()
    acts = [put, get_any] if bound is None else [put, get]
    if hasattr(queue, "put_many") and bound is not None:
        acts = [put, put, put_many, get, get, get_many]
    threads = []
    for _ in range(times):
        dice = actor.chance.random()
        if dice < 0.02 and NATIVE and not any(thread.is_alive() for thread in threads):
            actor.in_fork(use, queue, bound, times // 4, large)
        elif dice < 0.04 and actor.is_main and len(threads) < 3:
            threads.append(actor.in_thread(use, queue, bound, times // 4, large))
        actor.chance.choice(acts)(actor, queue, state, bound is None, large)
        actor.pause()
    for thread in threads:
        thread.join()


def limit_of(actor, queue):
    """Choose a time limit; queue.Queue, which a manager's is, refuses those that are over."""
    return actor.chance.choice((0, 0.001, 0.02, -1 if hasattr(queue, "put_many") else 0))


def plain(item):
    """Say whether an item is packed and opened without Python code."""
    return item[2] > 1 and len(item[3]) <= 5000


def put(actor, queue, state, simple, large):
    number = state["number"]
    state["number"] += 1
    item = item_of(actor, number, large)
    actor.note("put?", number, [plain(item)])
    limit = limit_of(actor, queue)
    args = (item,) if simple else (item, actor.chance.random() < 0.9, limit)
    settle_put(actor, actor.attempt(queue.put, *args, limit=max(limit, 0)))


def put_many(actor, queue, state, simple, large):
    first, count = state["number"], actor.chance.randrange(1, 5)
    state["number"] += count
    items = [item_of(actor, first + k, large) for k in range(count)]
    actor.note("put?", first, [plain(item) for item in items])
    settle_put(actor, actor.attempt(queue.put_many, items, True, 0.02, limit=0.02))


def settle_put(actor, outcome):
    if not outcome.done and not outcome.interrupted and outcome.failed_with not in ("Full", "ShutDown"):
        raise outcome.error
    actor.note("put" if outcome.done else "put-interrupted" if outcome.interrupted else "put-refused")


def get(actor, queue, state, simple, large):
    actor.note("get?", 1)
    limit = limit_of(actor, queue)
    outcome = actor.attempt(queue.get, actor.chance.random() < 0.8, limit, limit=max(limit, 0))
    settle_get(actor, queue, outcome, [outcome.value] if outcome.done else [])


def get_many(actor, queue, state, simple, large):
    most = actor.chance.choice((1, 2, 5))
    actor.note("get?", most)
    outcome = actor.attempt(queue.get_many, most, True, 0.01, limit=0.01)
    settle_get(actor, queue, outcome, outcome.value if outcome.done else [])


def get_any(actor, queue, state, simple, large):
    """Get without a time limit: the episode keeps putting until all have ended."""
    actor.note("get?", 1)
    outcome = actor.attempt(queue.get)
    settle_get(actor, queue, outcome, [outcome.value] if outcome.done else [])


def settle_get(actor, queue, outcome, items):
    if outcome.done:
        actor.note("got", [opened(item) for item in items])
        if hasattr(queue, "task_done"):
            for _ in items:
                queue.task_done()
    elif outcome.interrupted:
        actor.note("get-interrupted")
    elif outcome.failed_with in ("Empty", "ShutDown"):
        actor.note("empty")
    else:
        raise outcome.error


def drain(queue, simple, limit):
    """Get all that is there."""
    found = []
    while not (simple and queue.empty()):
        try:
            found.append(opened(queue.get() if simple else queue.get(True, limit)))
        except Exception as error:
            if type(error).__name__ in ("Empty", "ShutDown"):
                break
            raise
        if hasattr(queue, "task_done"):
            queue.task_done()
    return found


class Model:
    """What may be, from what was written."""

    def __init__(self, episode, drained, ordered=True):
        self.sure, self.maybe, self.got, self.plain = set(), set(), Counter(), set()
        self.taken_by_the_dead = self.interrupted = self.kept = 0
        for name, lines in episode.records("").items():
            self._read(name, lines)
            order = [item for line in lines if line[0] == "got" for item in line[1]]
            if (
                ordered and "-t" not in name
            ):  # a thread may get what an interrupted call of another thread had taken before
                in_order(name, order)
            self.got.update(order)
        if ordered:
            in_order("the end", drained)
        self.got.update(drained)

    def _read(self, name, lines):
        putting, most, kept = [], 0, 0
        for what, *rest in lines:
            if what == "put?":
                putting = [(name, rest[0] + k) for k in range(len(rest[1]))]
                self.plain |= {item for item, is_plain in zip(putting, rest[1], strict=True) if is_plain}
            elif what.startswith("put"):
                if what == "put":
                    self.sure.update(putting)
                elif len(putting) > 1 or what == "put-interrupted":
                    self.maybe.update(putting)
                putting = []
            elif what == "get?":
                most = rest[0]
            elif what in ("got", "empty", "get-interrupted"):
                # What an interrupted call had taken is got next in its process; if it gets nothing more, it is lost.
                self.interrupted += what == "get-interrupted"
                kept, most = most if what == "get-interrupted" else 0, 0
        self.maybe.update(putting)
        self.taken_by_the_dead += most
        self.kept += kept

    def check(self, plain=True):
        twice = {item: count for item, count in self.got.items() if count > 1}
        assert not twice, f"came twice: {twice}"
        unknown = set(self.got) - self.sure - self.maybe
        assert not unknown, f"came though its put failed: {unknown}"
        missing = self.sure - set(self.got)
        # What a handler interrupts as Python code opens it is gone; what was taken with it is not.
        facts = f"lost {sorted(missing)}; {self.taken_by_the_dead=} {self.interrupted=} {self.kept=}"
        assert len(missing) <= self.taken_by_the_dead + self.interrupted + self.kept, facts
        if plain:
            assert len(missing & self.plain) <= self.taken_by_the_dead + self.kept, (
                f"{facts}, plain {missing & self.plain}"
            )


def in_order(name, items):
    last = {}
    for who, number in items:
        assert number > last.get(who, -1), f"{name}: {who}'s {number} came after {last[who]}"
        last[who] = number


def episode(method, seed, kind, chaos, times=40):
    name, bound = KINDS[kind]
    simple = bound is None
    with Episode(method, seed, chaos) as run:
        queue = getattr(run.ctx, name)(*([bound] if bound else []))
        for k in range(3):
            # The portable SimpleQueue holds what a pipe holds.
            run.start(f"w{k}", use, queue, bound, times, NATIVE or not simple)
        helper = Actor(run.folder, "helper", seed)
        number, drained = Counter(), []

        def help_on():
            if simple and queue.empty():  # for those that wait without a time limit
                put(helper, queue, number, True, False)
            elif not simple and not NATIVE:  # a process that has put waits at its exit until all is in the pipe
                drained.extend(drain(queue, simple, 0))

        run.run(each_turn=help_on)
        run.check()
        drained += drain(queue, simple, 0.05 if NATIVE else 0.5)
        Model(run, drained).check()
        if name == "JoinableQueue":
            queue.join()
        helper.note("end")
        helper.close()
        queue.close()


CALM, ROUGH = Chaos(), Chaos(kills=0.02, raising=True)


@pytest.mark.parametrize("kind", KINDS)
def test_random_program(method, kind, seed):
    episode(method, f"{seed}-{kind}", kind, ROUGH if NATIVE else CALM)


@pytest.mark.chaos
def test_many_random_programs(method, seeds):
    for seed in seeds:
        for kind in KINDS:
            episode(method, f"{seed}-{kind}", kind, ROUGH if NATIVE else CALM, times=150)
