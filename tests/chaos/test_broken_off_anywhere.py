"""A Ctrl-C that comes at any point of what a program does with us, and a second one soon after: nothing is left of it.

An act is a generator: it makes what the act needs, yields what is broken off, and then looks at what has come of it:
what it had is usable, has had its end, or is gone with the last reference to it.
"""

import collections
import contextlib
import faulthandler
import gc
import os
import queue
import signal
import threading
import time
from fractions import Fraction

import pytest

import polyproc
from conftest import METHODS, needs, open_fds
from polyproc import connection, shared_memory
from polyproc._connection.sharer import sharer
from polyproc._forkserver.fork_server import forkserver, fresh_fork_server
from polyproc._memory.tracker import tracker
from polyproc._platform.handles import children_of
from polyproc.pool import ThreadPool
from support import targets
from support.broken_off import Points

LIMIT = 30.0  # seconds for one act
FOLDERS = ("/dev/shm", "/tmp")
PATH = f"/tmp/polyproc-broken-off-{os.getpid()}"


# -- processes ----------------------------------------------------------------------------------------------------------


def process_started(ctx):
    made = []

    def act():
        made.append(ctx.Process(target=targets.nothing))
        made[0].start()
        made[0].join()

    yield act
    if made and made[0]._popen is not None:
        made[0].join(20)
        assert made[0].exitcode == 0


def daemon_started(ctx):
    made = []

    def act():
        made.append(ctx.Process(target=targets.sleep, daemon=True))
        made[0].start()

    yield act
    if made and made[0]._popen is not None:
        made[0].kill()
        made[0].join(20)
        assert made[0].exitcode == -signal.SIGKILL


def ended_by(how):
    def act_of(ctx):
        process = ctx.Process(target=targets.sleep)
        process.start()
        yield lambda: how(process)
        process.kill()
        process.join(20)
        assert process.exitcode < 0

    act_of.__name__ = f"process_ended_by_{how.__name__}"
    return act_of


def terminate(process):
    process.terminate()
    connection.wait([process.sentinel, process])
    process.join()


def kill(process):
    process.kill()
    process.join(20)


def stop(process):
    process.stop(0.05)


def outcome_of(target, arguments, look):
    def act_of(ctx):
        process = ctx.Process(target=target, args=arguments)
        process.start()
        yield lambda: look(process)
        assert look(process)

    act_of.__name__ = f"outcome_of_{target.__name__}"
    return act_of


# -- what is shared -----------------------------------------------------------------------------------------------------


def shared_things(ctx):
    def act():
        made = [ctx.Lock(), ctx.RLock(), ctx.Semaphore(), ctx.Condition(), ctx.Event(), ctx.Barrier(2), ctx.Queue()]
        made += [
            ctx.SimpleQueue(),
            ctx.JoinableQueue(),
            *ctx.Pipe(),
            *ctx.Pipe(False),
            ctx.Value("i"),
            ctx.Array("i", 3),
        ]

    yield act


def lock_held(ctx):
    lock, condition, asked = ctx.Lock(), ctx.Condition(), []

    def act():
        with condition:
            condition.wait(0.001)
            condition.notify_all()
        asked.append("it")
        lock.acquire()
        asked.append("has it")
        lock.release()
        asked.clear()

    yield act
    assert asked or lock.acquire(timeout=5)  # the caller cannot know otherwise
    assert condition.acquire(timeout=5)


def items_taken(ctx):
    items, found = ctx.Queue(), []
    for number in range(3):
        items.put(number)
    yield lambda: found.extend(items.get() for _ in range(3))
    with contextlib.suppress(queue.Empty):
        while True:
            found.append(items.get(timeout=0.02))
    assert found in ([0, 1, 2], [1, 2], [2], [])  # what is returned as it is broken off is its caller's
    items.put(3)
    assert items.get() == 3
    items.close()
    items.join_thread()


def items_put(ctx):
    items, put, found = ctx.JoinableQueue(), [], []

    def act():
        for number in range(3):
            put.append(number)
            items.put(number)

    yield act
    with contextlib.suppress(queue.Empty):
        while True:
            found.append(items.get(timeout=0.02))
    assert found in (put, put[:-1])
    items.close()
    items.join_thread()


def large_item(ctx):
    items, data = ctx.Queue(), bytes(1 << 20)

    def act():
        items.put(data)
        items.get()
        items.close()
        items.join_thread()

    yield act


def pipe(ctx):
    def act():
        ends = ctx.Pipe()
        ends[0].send([1] * 1000)
        assert ends[1].recv() == [1] * 1000
        for end in ends:
            end.close()

    yield act


def segment(ctx):
    made = []

    def act():
        made.append(shared_memory.SharedMemory(create=True, size=100))
        made.append(shared_memory.SharedMemory(made[0].name))

    yield act
    for end in made[::-1]:
        end.close()
    for end in made[:1]:
        end.unlink()


def shareable_list(ctx):
    made = []

    def act():
        made.append(shared_memory.ShareableList([1, "a", None]))

    yield act
    for one in made:
        one.shm.close()
        one.shm.unlink()


# -- listeners ----------------------------------------------------------------------------------------------------------


def listener_of(address, family, key):
    def act_of(ctx):
        made, callers = [], []

        def call():
            with contextlib.suppress(OSError, EOFError, polyproc.AuthenticationError):
                connection.Client(made[0].address, authkey=key).close()

        def act():
            made.append(connection.Listener(address, family, authkey=key))
            callers.append(threading.Thread(target=call))
            callers[0].start()
            made[0].accept().close()
            made[0].close()

        yield act
        for listener in made:
            listener.close()
        for caller in callers:
            if caller.ident is not None:
                caller.join(20)
        gc.collect()
        connection.Listener(address, family).close()  # nobody is there

    act_of.__name__ = f"listener_{'at_a_path' if address else family}"
    return act_of


def client(ctx):
    with connection.Listener(authkey=b"key") as listener:
        made = []

        def serve():
            with contextlib.suppress(OSError):
                while True:
                    with contextlib.suppress(EOFError, polyproc.AuthenticationError):
                        listener.accept().close()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield lambda: made.append(connection.Client(listener.address, authkey=b"key"))
        connection.Client(listener.address, authkey=b"key").close()
    thread.join(20)
    assert not thread.is_alive()


# -- managers -----------------------------------------------------------------------------------------------------------


def manager(ctx):
    def act():
        with ctx.Manager() as made:
            made.dict()["a"] = 1

    yield act


def manager_ended(ctx):
    made = ctx.Manager()
    yield made.shutdown
    made.shutdown()


def manager_called(ctx):
    with ctx.Manager() as made:
        numbers = made.dict()

        def act():
            numbers["a"] = 1
            assert len(numbers) == 1
            made.Queue().put(1)

        yield act
        numbers["b"] = 2
        assert numbers["b"] == 2


# -- pools --------------------------------------------------------------------------------------------------------------


def in_pool(use):
    def act_of(ctx):
        pool, handles = ctx.Pool(1), []
        yield lambda: use(pool, handles)
        for handle in handles:
            handle.wait(20)
            assert handle.ready()
        pool.terminate()
        pool.join()

    act_of.__name__ = f"pool_{use.__name__}"
    return act_of


def applies(pool, handles):
    handles.append(pool.apply_async(abs, (-3,)))
    assert pool.apply(abs, (-3,)) == handles[0].get(20) == 3
    assert pool.apply(Fraction, (1, 3)).denominator == 3  # a value that the caller has to open
    with contextlib.suppress(ZeroDivisionError):
        pool.apply(divmod, (1, 0))


def maps(pool, handles):
    assert pool.map(abs, range(20)) == list(pool.imap(abs, range(20), 3)) == list(range(20))


def ends(pool, handles):
    handles.append(pool.apply_async(abs, (-3,)))
    pool.resize(2)
    pool.close()
    pool.join()


def is_terminated(pool, handles):
    pool.apply_async(time.sleep, (10,))
    pool.terminate()
    pool.join()


def pool_used(ctx):
    def act():
        with ctx.Pool(2) as pool:
            assert pool.apply(abs, (-3,)) == 3

    yield act


def thread_pool_used(ctx):
    def act():
        with ThreadPool(2) as pool:
            assert pool.apply(abs, (-3,)) == 3

    yield act


def executor_used(ctx):
    def act():
        with polyproc.ProcessPoolExecutor(1, ctx) as executor:
            assert executor.submit(abs, -3).result(20) == 3
            assert list(executor.map(abs, range(3))) == [0, 1, 2]

    yield act


def executor_killed(ctx):
    executor = polyproc.ProcessPoolExecutor(1, ctx)

    def act():
        executor.submit(time.sleep, 10)
        executor.terminate_workers()

    yield act
    executor.kill_workers()


def fork_server_stopped(ctx):
    ctx.Process(target=targets.nothing).start()
    yield forkserver._stop
    process = ctx.Process(target=targets.nothing)
    process.start()
    process.join(20)
    assert process.exitcode == 0


BY_EACH_METHOD = [
    process_started,
    daemon_started,
    *map(ended_by, (terminate, kill, stop)),
    outcome_of(targets.echo, ([1, 2],), lambda process: process.result(20) == [1, 2]),
    outcome_of(targets.raise_key_error, (), lambda process: type(process.exception(20)) is KeyError),
    manager,
    pool_used,
    executor_used,
]
BY_FORK = [
    *(shared_things, lock_held, items_taken, items_put, large_item, pipe, segment, shareable_list, client),
    listener_of(None, "AF_UNIX", b"key"),
    listener_of(None, "AF_INET", None),
    listener_of(PATH, "AF_UNIX", None),
    *(manager_called, manager_ended, *map(in_pool, (applies, maps, ends, is_terminated))),
    *(thread_pool_used, executor_killed),
]
ACTS = [
    *((act, method) for act in BY_EACH_METHOD for method in METHODS),
    *((act, "fork") for act in BY_FORK),
    (fork_server_stopped, "forkserver"),
]
if not polyproc.native:  # portable ones are made of several parts, one after the other: not all is theirs at each step
    OF_THE_CORE = (shared_things, lock_held, items_taken, items_put, large_item)
    ACTS = [(act, method) for act, method in ACTS if act not in OF_THE_CORE]
each_act = pytest.mark.parametrize(("make", "method"), ACTS, ids=[f"{act.__name__}-{by}" for act, by in ACTS])


def state():
    """Return how many descriptors of each kind there are, and which threads, children and files."""
    polyproc.active_children()
    gc.collect()
    kinds = collections.Counter(name.split(":[")[0] for name in open_fds().values() if "polyproc-chunk" not in name)
    files = {name for folder in FOLDERS for name in os.listdir(folder) if str(os.getpid()) in name}
    return kinds, {thread.name for thread in threading.enumerate()}, set(children_of(os.getpid())), files


def left(known):
    """Return what there is more than before; what waits for the next start is ended."""
    if not any(found := [now - before for now, before in zip(state(), known, strict=True)]):
        return None
    forkserver._stop()
    fresh_fork_server._stop()
    sharer.stop()
    return found


def play(make, context, *raises_at):
    """Play an act, with a Ctrl-C at these of its points; return how many there were, and where it came."""
    faulthandler.dump_traceback_later(LIMIT, exit=True)
    steps, points = make(context), Points(raises_at)
    points.play(next(steps))
    for _ in steps:
        pass
    return points


def break_off(make, method, chance, most):
    """Break an act off at some of its points, spread over all; each second time once more soon after."""
    context = polyproc.get_context(method)
    play(make, context)
    count = play(make, context).passed
    forkserver._stop()
    fresh_fork_server._stop()
    known = state()
    step = max(count // most, 1)
    for first in range(1 + chance.randrange(step), count + 1, step):
        points = play(make, context, first, *([first + chance.randrange(1, 30)] if chance.random() < 0.5 else []))
        where = points.raised
        del points
        deadline = time.monotonic() + LIMIT / 2
        while found := left(known):
            assert time.monotonic() < deadline, (first, where, found)
            time.sleep(0.005)
    faulthandler.cancel_dump_traceback_later()
    tracker._stop()


@needs("/proc")
@each_act
@pytest.mark.filterwarnings("ignore")  # what is dropped says so
def test_an_act_that_is_broken_off_at_some_points_leaves_nothing(make, method, chance, monkeypatch):
    monkeypatch.setattr("sys.unraisablehook", lambda dropped: None)
    break_off(make, method, chance, 12 if method == "fork" else 4)


@pytest.mark.chaos
@pytest.mark.skipif("POLYPROC_SEEDS" not in os.environ, reason="`make chaos` has it: two minutes")
@needs("/proc")
@each_act
@pytest.mark.filterwarnings("ignore")
def test_an_act_that_is_broken_off_at_many_points_leaves_nothing(make, method, chance, monkeypatch):
    monkeypatch.setattr("sys.unraisablehook", lambda dropped: None)
    break_off(make, method, chance, 120 if method == "fork" else 20)
