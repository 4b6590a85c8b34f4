"""core.direct: methods of C as a class's own, and special methods that are bound without an allocation."""

import contextlib
import gc
import sys
import threading

import pytest

import polyproc

pytestmark = pytest.mark.skipif(not polyproc.native, reason="needs the C core")


@pytest.fixture
def lock():
    return polyproc.Lock()


def special(lock, name):
    return vars(type(lock))[name]


def test_methods_are_the_classes_own(lock):
    for name in ("acquire", "release", "__enter__", "__exit__"):
        assert special(lock, name).__objclass__ is type(lock)
        assert getattr(lock, name).__self__ is lock
        assert getattr(lock, name).__name__ == name
        assert getattr(lock, name).__doc__


def test_a_bound_method_outlives_its_lock_and_its_block():
    with polyproc.Lock() as taken:
        assert taken is True
    enter, leave = (lock := polyproc.Lock()).__enter__, lock.__exit__
    del lock
    gc.collect()
    assert enter()
    assert enter.__self__.locked()
    leave(None, None, None)
    assert not enter.__self__.locked()


def test_many_are_bound_at_once():
    locks = [polyproc.RLock() for _ in range(50)]
    with contextlib.ExitStack() as stack:
        for lock in locks * 2:
            stack.enter_context(lock)
        assert all(lock._count() == 2 for lock in locks)
    assert not any(lock.locked() for lock in locks)


def test_nothing_is_left_of_them(lock):
    descriptor = special(lock, "__enter__")
    before = sys.getrefcount(lock), sys.getrefcount(descriptor), sys.getrefcount(type(lock))
    for _ in range(1000):
        with lock:
            kept = [lock.__exit__ for _ in range(3)]
    del kept
    gc.collect()
    assert (sys.getrefcount(lock), sys.getrefcount(descriptor), sys.getrefcount(type(lock))) == before


@pytest.mark.parametrize(
    "make", [int, lambda: None, lambda: polyproc.Lock, polyproc.RLock], ids=["int", "None", "function", "RLock"]
)
def test_others_are_refused(lock, make):
    wrong = make()
    enter = special(lock, "__enter__")
    with pytest.raises(TypeError):
        enter(wrong)
    if wrong is not None:
        with pytest.raises(TypeError):
            enter.__get__(wrong, type(wrong))
    assert not lock.locked()


def test_wrong_arguments(lock):
    enter = special(lock, "__enter__")
    for call in (lambda: lock.__enter__(1), lambda: lock.__enter__(a=1), enter, lambda: enter(lock, 1)):
        with pytest.raises(TypeError):
            call()
    for call in (lambda: lock.__exit__(a=1), lambda: enter(*(), **{"a": 1}), lambda: type(enter)()):
        with pytest.raises(TypeError):
            call()
    assert not lock.locked()


def test_every_way_to_call(lock):
    enter, leave = special(lock, "__enter__"), special(lock, "__exit__")
    for begin, end in (
        (lambda: enter(lock), lambda: leave(lock, None, None, None)),
        (lambda: enter(*[lock]), lambda: leave(*[lock, None, None, None], **{})),
        (lambda: enter.__call__(lock), lambda: leave.__call__(lock)),
        (lambda: enter.__get__(lock)(), lambda: leave.__get__(lock, type(lock))(*(None,) * 3)),
        (lambda: lock.__enter__.__call__(), lambda: lock.__exit__.__call__(1, 2, 3)),
    ):
        assert begin() is True
        assert lock.locked()
        assert end() is None
        assert not lock.locked()


def test_a_subclass_may_replace_them():
    said = []

    class Talking(type(polyproc.Lock())):
        def __enter__(self):
            said.append("enter")
            return super().__enter__()

        def release(self):
            said.append("release")
            super().release()

    lock = Talking()
    with lock:
        assert lock.locked()
    assert not lock.locked()
    lock.acquire()
    lock.release()
    assert said == ["enter", "release"]


def test_an_exception_passes(lock):
    with pytest.raises(ZeroDivisionError), lock:
        1 / 0  # noqa: B018
    assert not lock.locked()


def test_threads_bind_at_once():
    lock, count = polyproc.Lock(), [0]

    def add():
        for _ in range(2000):
            with lock:
                count[0] += 1

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert count == [8000]


def test_no_class_of_theirs(lock):
    import polyproc._core as core

    with pytest.raises(TypeError):
        core.direct(lock)
    plain = type("Plain", (), {})
    before = set(vars(plain))
    assert core.direct(plain) is plain
    assert set(vars(plain)) == before  # it extends no class of C
