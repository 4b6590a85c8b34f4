"""Many clients of a manager, and what they do to each other: references, waits, locks, and threads that cannot start."""

import contextlib
import gc
import os
import queue
import random
import signal
import threading
import time

import pytest

import polyproc
from conftest import eventually, plain_fork
from polyproc._managers import server as server_module
from polyproc._managers.server import References
from polyproc._managers.serving import Client, ClientGone, Holdings, WatchedCondition, serving, watch
from polyproc.managers import SyncManager
from support import managed
from support.loops import cut_short
from support.peers import hostile

SLICE = 0.25


@pytest.fixture
def manager():
    with managed.Manager(ctx=polyproc.get_context("fork")) as made:
        yield made
    made.join()


def in_thread(act, *args):
    told = []
    thread = threading.Thread(target=lambda: told.append(act(*args)))
    thread.start()
    return thread, told


def finished(thread, told):
    thread.join(60)
    return told[0]


# -- references ----------------------------------------------------------------------------------------------------


def test_an_object_lives_until_a_forked_child_has_it(manager):
    """The parent lets go at once; 50 at a time."""
    ctx = polyproc.get_context("fork")
    processes = []
    for _ in range(50):
        processes.append(ctx.Process(target=managed.use_own, args=(manager.list(),)))
        processes[-1].start()
    assert [process.result(60) for process in processes] == [1] * 50
    for process in processes:
        process.join()
    gc.collect()
    eventually(lambda: manager._number_of_objects() == 0)


def test_an_object_lives_until_it_is_taken_out_of_another(ctx, manager):
    """The server lets go when it has pickled the answer."""
    objects = manager.Queue()
    for _ in range(20):
        objects.put(manager.list())
        assert managed.take_and_use(objects) == 1
    process = ctx.Process(target=managed.take_and_use, args=(objects,))
    process.start()
    objects.put(manager.list())
    assert process.result(60) == 1
    process.join()
    table = manager.dict(a=manager.list())
    numbers = table.pop("a")
    numbers.append(1)
    del numbers, table
    gc.collect()
    eventually(lambda: manager._number_of_objects() == 1)


def test_a_proxy_that_was_not_made_whole_drops_nothing(manager, monkeypatch):
    numbers = manager.list([1])

    def interrupted(self):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(type(numbers), "_incref", interrupted)
        with pytest.raises(KeyboardInterrupt):
            type(numbers)(numbers._token, "pickle", authkey=numbers._authkey)
    gc.collect()
    assert manager._number_of_objects() == 1
    assert list(numbers) == [1]


def test_proxies_in_a_child_by_os_fork(manager):
    """Without callbacks of ours: the child's calls do not go over its parent's connections."""
    numbers = manager.list([1])
    pid = plain_fork()
    if pid == 0:
        try:
            numbers.append(2)
            os._exit(len(numbers))
        finally:
            os._exit(99)
    assert numbers[0] == 1
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 2
    assert list(numbers) == [1, 2]


def test_random_references_against_a_model():
    """Whoever refers to an object, or is on the way to, keeps it; when nobody does it goes."""
    chance = random.Random(11)
    references = References()
    alive, counts = {}, {}

    class Thing:
        pass

    for _ in range(3000):
        act = chance.randrange(5)
        name = f"p{chance.randrange(4)}"
        ident = chance.choice([*alive] or [None])
        if act == 0 or ident is None:
            thing = Thing()
            ident = references.add(name, thing, (), None)
            alive[ident], counts[ident] = thing, {name: 1}
        elif act == 1:
            references.claim(name, ident)
            counts[ident][name] = counts[ident].get(name, 0) + 1
        elif act == 2:
            references.drop(name, ident)
            counts[ident][name] = max(counts[ident].get(name, 0) - 1, 0)
        elif act == 3:
            heir = f"h{len(counts)}-{chance.random()}"
            references.inherit(name, heir)
            references.arrived(heir)
            for one in counts.values():
                if one.get(name):
                    one[heir] = one[name]
            if chance.random() < 0.8:
                references.drop_client(heir)
                for one in counts.values():
                    one.pop(heir, None)
        else:
            references.drop_client(name)
            for one in counts.values():
                one.pop(name, None)
        for ident in [ident for ident in alive if not any(counts[ident].values())]:
            del alive[ident], counts[ident]
        assert set(references.entries) == set(alive)


def test_a_token_that_arrives_before_its_departure_is_told():
    """In whatever order, and however often one is opened: no token stands for another."""
    references = References()
    ident = references.add("a", object(), (), None)
    references.claim("b", ident, "first")
    references.claim("b", ident, "first")
    references.sweep()
    references.lend(ident, "second")
    references.lend(ident, "first")
    references.drop_client("a")
    references.drop_client("b")
    assert ident in references.entries
    references.claim("c", ident, "second")
    references.drop_client("c")
    assert not references.entries


def test_what_a_child_inherits_and_never_comes_for_goes_in_time(monkeypatch):
    references = References()
    ident = references.add("parent", object(), (), None)
    references.inherit("parent", "child")
    references.drop_client("parent")
    assert ident in references.entries
    references.sweep()
    assert ident in references.entries
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + 1000)
    references.sweep()
    assert not references.entries


# -- a manager with a key of its own -------------------------------------------------------------------------------


@pytest.mark.parametrize("address", [None, ("127.0.0.1", 0)])
def test_proxies_in_proxies_of_a_manager_with_its_own_key(address):
    with SyncManager(address, b"its own key") as manager:
        table = manager.dict()
        table["a"] = manager.list([manager.dict(x=1)])
        table["a"][0]["y"] = 2
        assert dict(table["a"][0]) == {"x": 1, "y": 2}
        objects = manager.Queue()
        objects.put(table["a"])
        assert objects.get()[0]["x"] == 1
        elsewhere = SyncManager(manager.address, b"its own key")
        elsewhere.connect()
        passed = polyproc.Pipe()
        passed[0].send(table["a"])
        assert passed[1].recv()[0]["y"] == 2  # there is a link to its server
        for end in passed:
            end.close()
    manager.join()


# -- waiting is one call -------------------------------------------------------------------------------------------


def test_a_notification_while_the_notifier_holds_the_lock_is_not_lost(manager):
    condition = manager.Condition()

    def wait():
        with condition:
            return condition.wait(10)

    line = manager.Line(condition)
    for seconds in (0.1, 1.6 * SLICE):
        waiting = in_thread(wait)
        eventually(lambda: line.waiting() == 1)
        with condition:
            time.sleep(seconds)
            condition.notify()
        assert finished(*waiting) is True


def test_an_event_that_is_set_and_cleared_is_not_missed(manager):
    event = manager.Event()
    line = manager.Line(event)
    for number in range(8):
        waiting = in_thread(event.wait, 10)
        eventually(lambda: line.waiting() == 1)
        time.sleep(0.05 * number)
        event.set()
        event.clear()
        assert finished(*waiting) is True


def test_a_class_of_the_programs_own_waits_by_one_call(manager):
    chatty = manager.Chatty()
    waiting = in_thread(chatty.wait, 10)
    eventually(lambda: chatty.waiting() == 1)
    time.sleep(2.2 * SLICE)
    chatty.pulse()
    assert finished(*waiting) is True
    with pytest.raises(polyproc.RemoteError, match="SystemExit"):
        chatty.leave()
    assert chatty.pid() == manager._process.pid


def test_waits_that_are_over(manager):
    condition, event = manager.Condition(), manager.Event()
    with condition:
        assert condition.wait(0.05) is False
        assert condition.wait(0) is False
    assert event.wait(1.5 * SLICE) is False
    with pytest.raises(RuntimeError, match="un-acquired"):
        condition.wait(0.1)
    semaphore = manager.Semaphore(0)
    assert semaphore.acquire(True, 1.5 * SLICE) is False
    with pytest.raises(ValueError, match="timeout"):
        manager.Lock().acquire(False, 1)
    with pytest.raises(queue.Empty):
        manager.Queue().get(True, 1.5 * SLICE)
    full = manager.Queue(1)
    full.put(1)
    with pytest.raises(queue.Full):
        full.put(2, True, 1.5 * SLICE)
    assert manager.Barrier(1).wait() == 0
    with pytest.raises(threading.BrokenBarrierError):
        manager.Barrier(2).wait(0.05)


def test_every_wait_is_ended_by_what_it_waits_for(manager):
    items, full, event = manager.Queue(), manager.Queue(1), manager.Event()
    full.put(0)
    joined = manager.JoinableQueue()
    joined.put(0)
    barrier, lock, semaphore = manager.Barrier(2), manager.Lock(), manager.Semaphore(0)
    lock.acquire()
    waits = [
        (items.get, lambda: items.put("item"), "item"),
        (lambda: full.put(1), full.get, None),
        (joined.join, lambda: (joined.get(), joined.task_done()), None),
        (event.wait, event.set, True),
        (barrier.wait, barrier.wait, 0),
        (lock.acquire, lock.release, True),
        (semaphore.acquire, semaphore.release, True),
    ]
    threads = [in_thread(wait) for wait, _, _ in waits]
    time.sleep(1.5 * SLICE)
    assert not any(told for _, told in threads)
    for _, end, _ in waits:
        end()
    assert [finished(*thread) for thread in threads] == [result for _, _, result in waits]


# -- clients that are killed while they wait -----------------------------------------------------------------------


def killed_in(ctx, manager, target, *args):
    event = manager.Event()
    process = ctx.Process(target=target, args=(*args[:1], event, *args[1:]))
    process.start()
    assert event.wait(30)
    time.sleep(0.1)
    process.kill()
    process.join()


def test_a_killed_waiters_notification_goes_to_another(manager):
    ctx = polyproc.get_context("fork")
    condition = manager.Condition()
    line = manager.Line(condition)
    process = ctx.Process(target=managed.wait_holding, args=(condition, manager.Event()))
    process.start()
    eventually(lambda: line.waiting() == 1)

    def wait():
        with condition:
            return condition.wait(10)

    waiting = in_thread(wait)
    eventually(lambda: line.waiting() == 2)
    with condition:
        process.kill()
        process.join()
        condition.notify()  # of the one that was first in line
    assert finished(*waiting) is True
    assert condition.acquire(timeout=10)
    condition.release()


def test_a_killed_party_of_a_barrier_does_not_count(manager):
    ctx = polyproc.get_context("fork")
    barrier = manager.Barrier(2)
    killed_in(ctx, manager, managed.wait_for, barrier)
    eventually(lambda: barrier.n_waiting == 0)
    waiting = in_thread(barrier.wait)
    eventually(lambda: barrier.n_waiting == 1)
    assert barrier.wait() + finished(*waiting) == 1


@pytest.mark.parametrize("kind", [queue.Queue, queue.LifoQueue, queue.PriorityQueue, queue.SimpleQueue])
def test_an_item_that_nobody_got_is_put_back(kind):
    ours, theirs = polyproc.Pipe()
    server = server_module.Server({}, None, b"key", "pickle")
    with ours:
        client = Client(ours, "name", Holdings())
        items = kind()
        for number in range(3):
            items.put(number)
        first = items.get()
        theirs.close()
        with pytest.raises(OSError):
            server._answer(client, ("#RETURN", first), items)
        with pytest.raises(ClientGone):
            server.invoke(client, items, "get", (), {})
        got = [items.get(False) for _ in range(3)]
        assert sorted(got) == [0, 1, 2]
        assert kind is queue.SimpleQueue or got == ([2, 1, 0] if kind is queue.LifoQueue else [0, 1, 2])
    server.listener.close()


def test_a_method_that_a_program_overrides_is_called():
    class Doubling(queue.Queue):
        def get(self, *args, **kwds):
            return 2 * super().get(*args, **kwds)

    class Manager(SyncManager):
        pass

    Manager.register("Doubling", Doubling)
    with Manager(ctx=polyproc.get_context("fork")) as manager:
        items = manager.Doubling()
        items.put(4)
        assert items.get() == 8
    manager.join()


# -- locks ---------------------------------------------------------------------------------------------------------


def test_a_release_by_another_never_unbooks_the_next_holder():
    """Random clients acquire, and release what is theirs or not; then the holder dies, and the lock is free."""
    pipes = [polyproc.Pipe() for _ in range(4)]
    holdings, lock = Holdings(), threading.Lock()
    clients = [Client(ours, str(n), holdings) for n, (ours, _) in enumerate(pipes)]
    ends = time.monotonic() + 1.0

    def be(number):
        chance = random.Random(number)
        client = clients[number]
        while time.monotonic() < ends:
            if chance.random() < 0.6:
                holdings.acquire(client, lock, True, chance.uniform(0, 0.002))
            else:
                with contextlib.suppress(RuntimeError):
                    holdings.release(client, lock)
            with holdings._changed:
                holders = [one for one in clients if id(lock) in one.held]
                assert len(holders) <= 1
                assert holdings._holders.get(id(lock)) is (holders[0] if holders else None)
                assert lock.locked() or not holders
        return True

    threads = [in_thread(be, number) for number in range(4)]
    assert all(finished(*thread) for thread in threads)
    for client in clients:
        holdings.let_go(client)
    assert not lock.locked()
    assert not holdings._holders
    assert not holdings._waiting
    for end in (end for pipe in pipes for end in pipe):
        end.close()


def test_a_condition_over_a_shared_lock(manager):
    lock = manager.Lock()
    condition = manager.Condition(lock)

    def wait():
        with lock:
            return condition.wait(10)

    line = manager.Line(condition)
    waiting = in_thread(wait)
    eventually(lambda: line.waiting() == 1)
    with condition:
        assert not lock.acquire(False)
        condition.notify()
    assert finished(*waiting) is True
    assert lock.acquire(False)


def test_a_recursive_lock_that_was_left_locked_is_nobody_elses(manager):
    """The thread that owned it in the server stays: its number is not given to another client's."""
    ctx = polyproc.get_context("fork")
    lock = manager.RLock()
    process = ctx.Process(target=lock.acquire)
    process.start()
    assert process.result(30)
    process.join()
    for _ in range(5):
        process = ctx.Process(target=managed.call, args=(lock.acquire, False))
        process.start()
        assert process.result(30) is False
        process.join()


def test_a_lock_of_a_thread_that_ended_is_let_go_when_its_process_dies(manager):
    ctx = polyproc.get_context("fork")
    for lock in (manager.Lock(), manager.RLock(), manager.Condition()):
        ready = manager.Event()

        def leave_locked(lock=lock, ready=ready):
            thread = threading.Thread(target=lock.acquire)
            thread.start()
            thread.join()
            gc.collect()
            ready.set()
            time.sleep(100)

        process = ctx.Process(target=leave_locked)
        process.start()
        assert ready.wait(30)
        assert not lock.acquire(timeout=0.1)
        process.kill()
        process.join()
        assert lock.acquire(timeout=20)
        lock.release()


def test_what_a_task_holds_when_a_call_of_it_is_cancelled_is_still_its_own(run, manager):
    lock, recursive, condition, items = manager.Lock(), manager.RLock(), manager.Condition(), manager.Queue()

    async def main():
        async with lock.aio, recursive.aio:
            assert await cut_short(0.05, items.aio.get)
            assert not lock.acquire(blocking=False)
        async with condition.aio:
            assert await cut_short(0.05, condition.aio.wait)

    run(main)
    for one in (lock, recursive, condition):
        assert one.acquire(timeout=10)
        one.release()


# -- threads that cannot start -------------------------------------------------------------------------------------


def refuse_threads():
    def refuse(thread):
        raise RuntimeError("can't start new thread")

    threading.Thread.start = refuse


def test_a_client_that_no_thread_can_serve_is_told(manager):
    class Manager(SyncManager):
        pass

    Manager.register("refuse_threads", refuse_threads)
    with Manager(ctx=polyproc.get_context("fork")) as refusing:
        numbers = refusing.list([1])
        refusing.refuse_threads()
        begin = time.monotonic()
        thread, told = in_thread(lambda: raised(numbers.append, 2))
        assert isinstance(finished(thread, told), polyproc.RemoteError | OSError | EOFError)
        assert time.monotonic() - begin < 10
        numbers.append(3)  # over the connection that there is
        assert list(numbers) == [1, 3]
    refusing.join()


def raised(act, *args):
    try:
        return act(*args)
    except Exception as error:
        return error


def test_a_server_whose_threads_cannot_start_ends(capfd):
    class Manager(SyncManager):
        pass

    with pytest.raises((polyproc.RemoteError, OSError, EOFError, polyproc.ProcessError)):
        manager = Manager(ctx=polyproc.get_context("fork"))
        try:
            manager.start(initializer=refuse_threads)
            manager.list()
        finally:
            manager._process.join(20)
            assert manager._process.exitcode == 1
    assert "can't start new thread" in capfd.readouterr().err
    with contextlib.suppress(AttributeError):
        manager.shutdown()


def test_whatever_ends_the_thread_that_accepts_ends_the_server(capfd):
    server = server_module.Server({}, None, b"key", "pickle")
    tries = []

    def broken():
        tries.append(0)
        if len(tries) > 2:
            raise GeneratorExit
        raise SystemError("not for good")

    server.listener.accept = broken
    thread = threading.Thread(target=lambda: raised_any(server._accept))
    thread.start()
    assert server.stop_event.wait(20)
    thread.join()
    assert len(tries) == 3
    assert server._is_broken
    server.listener.close()
    assert "a manager's thread ended" in capfd.readouterr().err


def raised_any(act):
    try:
        return act()
    except BaseException as error:
        return error


# -- conditions ----------------------------------------------------------------------------------------------------


def test_conditions_are_found_in_what_is_shared():
    for obj in (threading.Event(), threading.Semaphore(), threading.Barrier(2), queue.Queue(), managed.Chatty()):
        watch(obj)
        parts = [part for part in vars(obj).values() if isinstance(part, threading.Condition)]
        assert parts
        assert all(type(part) is WatchedCondition for part in parts)
    chatty = managed.Chatty()
    watch(chatty)
    assert type(chatty._arrived._cond) is WatchedCondition
    own = WatchedCondition()
    assert serving.client is None
    with own:
        assert own.wait(0.01) is False


def test_a_notification_at_the_last_moment_counts():
    """Who gives up waiting and is notified before it has left the line was notified."""
    ours, theirs = polyproc.Pipe()
    condition = WatchedCondition()
    client = Client(ours, "name", Holdings())

    def give_up(attempt, timeout):
        with condition:
            condition.notify()
        return False

    client.wait = give_up
    serving.client = client
    try:
        with condition:
            assert condition.wait(1.0) is True
        theirs.close()
        with condition, pytest.raises(ClientGone):
            condition.wait(1.0)
    finally:
        serving.client = None
        ours.close()


# -- handlers that raise -------------------------------------------------------------------------------------------


class Alarm(Exception):
    """What a handler raises: an ordinary exception, as those that methods raise."""


def on_alarm(number, frame):
    raise Alarm


@pytest.mark.skipif(not polyproc.native, reason="in pure Python a handler may run where a descriptor is nobody's yet")
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_no_answer_is_taken_for_the_next_calls_whatever_a_handler_raises(manager):
    """Random calls with answers that tell whose they are, and alarms at random moments of them."""
    chance = random.Random(5)
    table = manager.dict()
    table.update({number: number for number in range(100)})
    before = signal.signal(signal.SIGALRM, on_alarm)
    interrupted = 0
    try:
        until = time.monotonic() + 2.0
        while time.monotonic() < until:
            number = chance.randrange(100)
            try:
                try:
                    signal.setitimer(signal.ITIMER_REAL, chance.uniform(0.00001, 0.0004))
                    while True:
                        assert table[number] == number
                        number = (number + 1) % 100
                finally:
                    signal.setitimer(signal.ITIMER_REAL, 0)
            except Alarm:
                interrupted += 1
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert interrupted > 20
    assert dict(table) == {number: number for number in range(100)}


def test_a_call_that_cannot_be_sent_costs_no_connection(manager):
    """A lock that is held by it stays held."""
    lock, numbers = manager.RLock(), manager.list()
    with lock:
        with pytest.raises(Exception, match="pickle"):
            numbers.append(threading.Lock())
        assert lock.acquire(False)
        lock.release()
    assert list(numbers) == []


@pytest.mark.parametrize(
    "what", ["silent", "half a header", "huge header", "huger header", "negative header", "command"]
)
@pytest.mark.parametrize("knows", [True, False])
def test_hostile_clients_hinder_nobody(manager, what, knows):
    key = bytes(manager._authkey) if knows and what != "command" else b""
    with hostile(manager.address, what, key) as peer:
        assert peer.stdout.readline()
        elsewhere = SyncManager(manager.address, bytes(manager._authkey))
        begin = time.monotonic()
        elsewhere.connect()
        assert list(elsewhere.list([1])) == [1]
        assert time.monotonic() - begin < 4
