"""Managers: objects in a server, who refers to them, and what a client's death costs."""

import gc
import os
import queue
import signal
import socket
import threading
import time

import pytest

import polyproc
from conftest import children_of, eventually, is_running
from polyproc._forkserver.fork_server import forkserver
from polyproc._managers.links import Link
from polyproc._memory.tracker import tracker
from polyproc.managers import BaseManager, SharedMemoryManager, SyncManager
from support import managed


@pytest.fixture
def manager(ctx):
    with ctx.Manager() as made:
        yield made
    made.join()


def test_types(manager):
    numbers = manager.list([3, 1, 2])
    numbers.sort()
    numbers += [4]
    assert list(numbers) == numbers[:] == [1, 2, 3, 4]
    assert str(numbers) == "[1, 2, 3, 4]"
    assert "ListProxy object, typeid 'list'" in repr(numbers)
    table = manager.dict(a=1)
    table.update({"b": 2})
    assert sorted(table) == ["a", "b"]
    assert dict(table.items()) == table.copy() == {"a": 1, "b": 2}
    assert sorted(manager.set({1, 2}) | {3}) == [1, 2, 3]
    namespace = manager.Namespace(x=1)
    namespace.y = 2
    del namespace.x
    assert str(namespace) == "Namespace(y=2)"
    value = manager.Value("i", 4)
    value.value += 1
    assert value.get() == 5
    array = manager.Array("i", [1, 2, 3])
    array[0] = 7
    assert (len(array), array[0]) == (3, 7)
    barrier = manager.Barrier(1)
    assert (barrier.wait(), barrier.parties, barrier.broken) == (0, 1, False)
    with manager.Pool(2) as pool:
        assert pool.map(managed.double, range(5)) == [0, 2, 4, 6, 8]
        assert pool.apply_async(managed.double, (4,)).get(30) == 8
        assert list(pool.imap(managed.double, range(3))) == [0, 2, 4]


def test_errors_are_the_methods_own(manager):
    with pytest.raises(KeyError, match="nothing") as caught:
        manager.dict()["nothing"]
    assert "in _call" in str(caught.value.__cause__)
    with pytest.raises(queue.Empty):
        manager.Queue().get_nowait()
    with pytest.raises(queue.Empty):
        manager.Queue().get(timeout=0.01)
    with pytest.raises(polyproc.RemoteError, match="not in exposed"):
        manager.list()._callmethod("__init__")
    with pytest.raises(polyproc.RemoteError, match="Unserializable"):
        manager.Barrier(1)._callmethod("__getattribute__", ("_cond",))
    assert manager.list([1])[0] == 1


def test_processes_share(ctx, manager):
    table, numbers, lock, results = manager.dict(), manager.list(), manager.Lock(), manager.Queue()
    processes = [ctx.Process(target=managed.work, args=(table, numbers, lock, results, n)) for n in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        assert process.result(30) is None
    assert sorted(numbers) == [0, 1, 2, 3]
    assert sorted(results.get() for _ in range(4)) == [0, 2, 4, 6]
    assert len(set(table.values())) == 4


def test_proxies_in_proxies(ctx, manager):
    outer = manager.list([manager.dict(a=1)])
    outer[0]["b"] = 2
    outer.append(manager.list())
    outer[1].append(outer[0])
    gc.collect()
    assert outer[1][0].copy() == {"a": 1, "b": 2}
    process = ctx.Process(target=managed.append_to_first, args=(outer, "c"))
    process.start()
    process.result(30)
    assert sorted(outer[0].keys()) == ["a", "b", "c"]


def test_references_are_dropped(manager):
    before = manager._number_of_objects()
    for _ in range(200):
        outer = manager.list()
        outer.append(manager.dict())
    del outer
    gc.collect()
    eventually(lambda: manager._number_of_objects() == before)
    assert manager._debug_info() == "" or before


def test_a_killed_clients_references_are_dropped(ctx, manager):
    before = manager._number_of_objects()
    ours, theirs = ctx.Pipe()
    numbers = manager.list()
    process = ctx.Process(target=managed.make_many, args=(manager.address, bytes(manager._authkey), numbers, theirs))
    process.start()
    assert ours.recv() == "made"
    assert manager._number_of_objects() >= before + 21
    process.kill()
    process.join()
    eventually(lambda: manager._number_of_objects() == before + 2)  # the list, and what it has
    ours.close()
    theirs.close()


def test_a_proxy_on_its_way_keeps_its_object(ctx, manager):
    """The sender lets go before the receiver has it."""
    objects = ctx.Queue()
    objects.put(manager.list(["here"]))
    gc.collect()
    assert manager._number_of_objects() == 1
    assert list(objects.get()) == ["here"]
    objects.close()


def test_a_killed_owners_lock_is_handed_on(ctx, manager):
    for lock in (manager.Lock(), manager.RLock(), manager.BoundedSemaphore(1), manager.Condition()):
        process = ctx.Process(target=managed.hold, args=(lock, event := manager.Event()))
        process.start()
        assert event.wait(30)
        assert not lock.acquire(timeout=0.05)
        process.kill()
        process.join()
        assert lock.acquire(timeout=20)
        lock.release()


def test_a_lock_stays_locked_when_its_owner_ends_in_good_order(ctx, manager):
    lock = manager.Lock()
    process = ctx.Process(target=lock.acquire)
    process.start()
    process.result(30)
    assert not lock.acquire(timeout=1.0)
    lock.release()
    assert lock.acquire(False)
    thread = threading.Thread(target=lock.acquire, kwargs={"timeout": 5})
    thread.start()
    lock.release()
    thread.join()
    assert not lock.acquire(timeout=0.8)  # the thread has ended, this process has not


def test_a_killed_waiter_takes_nothing(ctx, manager):
    items, event = manager.Queue(), manager.Event()
    process = ctx.Process(target=managed.take, args=(items, event))
    process.start()
    assert event.wait(30)
    time.sleep(0.05)
    process.kill()
    process.join()
    for n in range(3):
        items.put(n)
    assert [items.get(timeout=20) for _ in range(3)] == [0, 1, 2]


def test_an_interrupted_call_does_not_harm_the_next(manager):
    items = manager.Queue()
    numbers = manager.list(range(5))
    previous = signal.signal(signal.SIGALRM, lambda *_: (_ for _ in ()).throw(InterruptedError("now")))
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        with pytest.raises(InterruptedError):
            items.get()
    finally:
        signal.signal(signal.SIGALRM, previous)
    assert list(numbers) == [0, 1, 2, 3, 4]
    items.put(3)
    assert items.get() == 3


def test_the_server_ends_with_its_owner(method):
    ctx = polyproc.get_context(method)
    ours, theirs = ctx.Pipe()
    process = ctx.Process(target=managed.have_a_manager, args=(theirs,))
    process.start()
    pid, address = ours.recv()
    assert is_running(pid)
    process.kill()
    process.join()
    eventually(lambda: not is_running(pid))
    ours.close()
    theirs.close()
    if os.path.exists(address):
        os.unlink(address)
        os.rmdir(os.path.dirname(address))


class Counted:
    """Something of a program's own."""

    def seven(self):
        """Return a number."""
        return 7


@pytest.mark.parametrize("kind", [BaseManager, SyncManager])
def test_what_is_registered_with_a_class_of_the_library_itself(ctx, kind, monkeypatch):
    monkeypatch.setattr(kind, "_registry", kind._registry.copy())
    kind.register("Counted", Counted)
    try:
        with kind(ctx=ctx) as manager:
            assert manager.Counted().seven() == 7
            if kind is SyncManager:
                assert manager.list([1, 2]).pop() == 2
    finally:
        del kind.Counted


@pytest.mark.parametrize("encrypted", [False, True])
def test_a_manager_somewhere_else(encrypted, request):
    theirs, ours = request.getfixturevalue("contexts") if encrypted else (None, None)

    class Remote(BaseManager):
        pass

    numbers = [1, 2, 3]
    Remote.register("numbers", callable=lambda: numbers)
    server = Remote(("127.0.0.1", 0), b"key", ssl=theirs).get_server()
    thread = threading.Thread(target=serve, args=(server,), daemon=True)
    thread.start()

    class Here(BaseManager):
        pass

    Here.register("numbers")
    manager = Here(server.address, b"key", ssl=ours)
    manager.connect()
    proxy = manager.numbers()
    proxy.append(4)
    assert numbers == [1, 2, 3, 4]
    assert proxy.index(4) == 3
    with pytest.raises(polyproc.AuthenticationError):
        Here(server.address, b"another", ssl=ours).connect()
    silent = [socket.create_connection(server.address) for _ in range(20)]
    assert proxy.count(4) == 1
    before = threading.active_count()
    assert before < 20
    for sock in silent:
        sock.close()
    manager._ask("shutdown")
    del proxy
    from polyproc._managers.links import links

    links.forget(server.address, "pickle")
    thread.join(30)
    assert not thread.is_alive()


def serve(server):
    try:
        server.serve_forever()
    except SystemExit:
        del polyproc.current_process()._manager_server


def test_states():
    manager = SyncManager()
    with pytest.raises(AssertionError, match="server not yet started"):
        manager.list()
    manager.start()
    with pytest.raises(polyproc.ProcessError, match="Already started server"):
        manager.start()
    manager.shutdown()
    with pytest.raises(polyproc.ProcessError, match="Manager has shut down"):
        manager.start()
    with pytest.raises(ValueError, match="unknown serializer 'yaml'"):
        SyncManager(serializer="yaml")
    with pytest.raises(TypeError, match="initializer must be a callable"):
        SyncManager().start(3)


def test_a_server_that_cannot_begin_says_why(ctx, capfd):
    with pytest.raises(ZeroDivisionError):
        SyncManager(ctx=ctx).start(managed.divide, (1, 0))


def test_a_server_that_is_gone(ctx):
    with ctx.Manager() as manager:
        numbers = manager.list()
        manager._process.kill()
        manager._process.join()
        with pytest.raises((EOFError, OSError)):
            numbers.append(1)
        assert "failed" in str(numbers)


def test_segments_are_removed(ctx):
    with SharedMemoryManager(ctx=ctx) as manager:
        segment = manager.SharedMemory(1000)
        numbers = manager.ShareableList([1, "two"])
        segment.buf[0] = 7
        name = segment.name
        assert os.path.exists(f"/dev/shm/{name}")
        assert list(numbers) == [1, "two"]
        segment.close()
        numbers.shm.close()
    assert not os.path.exists(f"/dev/shm/{name}")
    tracker._stop()
    with pytest.raises(ValueError, match="has been shut down"):
        manager.SharedMemory(10)


def test_nothing_is_left(ctx):
    before = children_of(os.getpid())
    manager = ctx.Manager()
    numbers = manager.list()
    del manager
    gc.collect()
    numbers.append(1)  # a proxy keeps its manager
    del numbers
    gc.collect()
    forkserver._stop()
    eventually(lambda: set(children_of(os.getpid())) <= set(before))


def test_many_threads_meet_a_server_at_once(manager):
    """Each has to wait until the process is known there: none waits for an answer to what nobody has sent."""
    for _ in range(30):
        link = Link(manager.address, "pickle", bytes(manager._authkey), None)
        start, answers = threading.Barrier(6), []

        def ask(link=link, start=start, answers=answers):
            start.wait(30)
            answers.append(link.ask((None, "dummy", (), {})))

        threads = [threading.Thread(target=ask, daemon=True) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert len(answers) == 6
        link.leave()
