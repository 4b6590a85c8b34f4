"""The proxies of the types that every manager of objects has."""

from __future__ import annotations

import time
from types import GenericAlias, TracebackType

from polyproc._managers.proxy import BaseProxy, MakeProxyType
from polyproc._platform.handles import due
from polyproc._public import public
from polyproc._typing import Any, Callable, Iterator, MutableMapping, MutableSequence


def _names(text: str) -> tuple[str, ...]:
    return tuple(text.split())


def _in_place(name: str) -> Any:
    def operate(self: BaseProxy, value: Any) -> BaseProxy:
        self._callmethod(name, (value,))
        return self

    return operate


def _made(name: str, exposed: tuple[str, ...]) -> Any:
    """Make a proxy type of this module."""
    made = MakeProxyType(name, exposed)
    made.__module__ = __name__
    return public("managers")(made)


@public("managers")
class IteratorProxy(BaseProxy):
    """Of an iterator or a generator."""

    _exposed_ = ("__next__", "send", "throw", "close")

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self, *args: Any) -> Any:
        return self._callmethod("__next__", args)

    def send(self, *args: Any) -> Any:
        """Send a value to a generator; return what it yields."""
        return self._callmethod("send", args)

    def throw(self, *args: Any) -> Any:
        """Raise in a generator; return what it yields."""
        return self._callmethod("throw", args)

    def close(self, *args: Any) -> Any:
        """End a generator."""
        return self._callmethod("close", args)


@public("managers")
class AcquirerProxy(BaseProxy):
    """Of a lock or a semaphore. When a process ends that holds a lock, it is unlocked."""

    _exposed_: tuple[str, ...] = ("acquire", "release", "locked")

    def acquire(self, blocking: bool = True, timeout: float | None = None) -> bool:
        """Acquire; wait for it up to `timeout` seconds, None without limit. Return whether it was got."""
        args = (blocking,) if timeout is None else (blocking, timeout)
        got: bool = self._callmethod("acquire", args)
        return got

    def release(self) -> None:
        """Release."""
        self._callmethod("release")

    def locked(self) -> bool:
        """Return whether somebody holds it."""
        return bool(self._callmethod("locked"))

    def __enter__(self) -> bool:
        got: bool = self._callmethod("acquire")
        return got

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._callmethod("release")


@public("managers")
class ConditionProxy(AcquirerProxy):
    """Of a condition."""

    _exposed_ = ("acquire", "release", "wait", "notify", "notify_all", "locked")

    def wait(self, timeout: float | None = None) -> bool:
        """Wait to be notified, up to `timeout` seconds; return whether that happened."""
        notified: bool = self._callmethod("wait", (timeout,))
        return notified

    def notify(self, n: int = 1) -> None:
        """Wake up to `n` who wait."""
        self._callmethod("notify", (n,))

    def notify_all(self) -> None:
        """Wake all who wait."""
        self._callmethod("notify_all")

    def wait_for(self, predicate: Callable[[], Any], timeout: float | None = None) -> Any:
        """Wait until the predicate is true, asked here; up to `timeout` seconds. Return what it said last."""
        end = None if timeout is None else due(timeout)
        while not (result := predicate()):
            left = None if end is None else end - time.monotonic()
            if left is not None and left <= 0:
                break
            self.wait(left)
        return result


@public("managers")
class EventProxy(BaseProxy):
    """Of an event."""

    _exposed_ = ("is_set", "set", "clear", "wait")

    def is_set(self) -> bool:
        """Return whether it is set."""
        return bool(self._callmethod("is_set"))

    def set(self) -> None:
        """Set it, and wake all who wait."""
        self._callmethod("set")

    def clear(self) -> None:
        """Unset it."""
        self._callmethod("clear")

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is set, up to `timeout` seconds; return whether it is."""
        return bool(self._callmethod("wait", (timeout,)))


@public("managers")
class BarrierProxy(BaseProxy):
    """Of a barrier."""

    _exposed_ = ("__getattribute__", "wait", "abort", "reset")

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the others, up to `timeout` seconds; return our number. Raises BrokenBarrierError."""
        number: int = self._callmethod("wait", (timeout,))
        return number

    def abort(self) -> None:
        """Break it."""
        self._callmethod("abort")

    def reset(self) -> None:
        """Make it whole; who waits gets BrokenBarrierError."""
        self._callmethod("reset")

    @property
    def parties(self) -> int:
        """How many it waits for."""
        number: int = self._callmethod("__getattribute__", ("parties",))
        return number

    @property
    def n_waiting(self) -> int:
        """How many wait."""
        number: int = self._callmethod("__getattribute__", ("n_waiting",))
        return number

    @property
    def broken(self) -> bool:
        """Whether it is broken."""
        return bool(self._callmethod("__getattribute__", ("broken",)))


@public("managers")
class NamespaceProxy(BaseProxy):
    """Of a namespace: what does not begin with an underscore is the referent's attribute."""

    _exposed_ = ("__getattribute__", "__setattr__", "__delattr__")

    @property
    def aio(self) -> Any:
        """The referent's attribute of that name: a namespace has no methods."""
        return self.__getattr__("aio")

    def __getattr__(self, key: str) -> Any:
        if key[0] == "_":
            return object.__getattribute__(self, key)
        return object.__getattribute__(self, "_callmethod")("__getattribute__", (key,))

    def __setattr__(self, key: str, value: Any) -> None:
        if key[0] == "_":
            object.__setattr__(self, key, value)
        else:
            self._callmethod("__setattr__", (key, value))

    def __delattr__(self, key: str) -> None:
        if key[0] == "_":
            object.__delattr__(self, key)
        else:
            self._callmethod("__delattr__", (key,))


@public("managers")
class ValueProxy(BaseProxy):
    """Of a value."""

    _exposed_ = ("get", "set")

    def get(self) -> Any:
        """Return the value."""
        return self._callmethod("get")

    def set(self, value: Any) -> None:
        """Set the value."""
        self._callmethod("set", (value,))

    value = property(get, set)
    __class_getitem__: Any = classmethod(GenericAlias)


BaseListProxy = _made(
    "BaseListProxy",
    _names(
        "__add__ __contains__ __delitem__ __getitem__ __imul__ __len__ __mul__ __reversed__ __rmul__ "
        "__setitem__ append clear copy count extend index insert pop remove reverse sort"
    ),
)


@public("managers")
class ListProxy(BaseListProxy):  # type: ignore[misc, valid-type]  # made from a list of methods
    """Of a list."""

    def __iadd__(self, value: Any) -> ListProxy:
        self._callmethod("extend", (value,))
        return self

    __imul__ = _in_place("__imul__")
    __class_getitem__: Any = classmethod(GenericAlias)


_BaseDictProxy = MakeProxyType(
    "_BaseDictProxy",
    _names(
        "__contains__ __delitem__ __getitem__ __ior__ __iter__ __len__ __or__ __reversed__ __ror__ "
        "__setitem__ clear copy fromkeys get items keys pop popitem setdefault update values"
    ),
)
_BaseDictProxy._method_to_typeid_ = {"__iter__": "Iterator"}


@public("managers")
class DictProxy(_BaseDictProxy):  # type: ignore[misc, valid-type]  # made from a list of methods
    """Of a dictionary."""

    __ior__ = _in_place("__ior__")
    __class_getitem__: Any = classmethod(GenericAlias)


_BaseSetProxy = MakeProxyType(
    "_BaseSetProxy",
    _names(
        "__and__ __class_getitem__ __contains__ __iand__ __ior__ __isub__ __iter__ __ixor__ __len__ __or__ "
        "__rand__ __ror__ __rsub__ __rxor__ __sub__ __xor__ __ge__ __gt__ __le__ __lt__ add clear copy "
        "difference difference_update discard intersection intersection_update isdisjoint issubset issuperset "
        "pop remove symmetric_difference symmetric_difference_update union update"
    ),
)
_BaseSetProxy._method_to_typeid_ = {"__iter__": "Iterator"}


@public("managers")
class SetProxy(_BaseSetProxy):  # type: ignore[misc, valid-type]  # made from a list of methods
    """Of a set."""

    __ior__ = _in_place("__ior__")
    __iand__ = _in_place("__iand__")
    __ixor__ = _in_place("__ixor__")
    __isub__ = _in_place("__isub__")
    __class_getitem__: Any = classmethod(GenericAlias)


ArrayProxy = _made("ArrayProxy", ("__len__", "__getitem__", "__setitem__"))

_BasePoolProxy = MakeProxyType(
    "PoolProxy",
    _names("apply apply_async close imap imap_unordered join map map_async starmap starmap_async terminate"),
)
_BasePoolProxy._method_to_typeid_ = {
    "apply_async": "AsyncResult",
    "map_async": "AsyncResult",
    "starmap_async": "AsyncResult",
    "imap": "Iterator",
    "imap_unordered": "Iterator",
}


@public("managers")
class PoolProxy(_BasePoolProxy):  # type: ignore[misc, valid-type]  # made from a list of methods
    """Of a pool."""

    def __enter__(self) -> PoolProxy:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.terminate()


MutableSequence.register(BaseListProxy)
MutableMapping.register(_BaseDictProxy)
