"""The proxies of the types that every manager of objects has."""

from __future__ import annotations

import time
from types import GenericAlias, TracebackType

from polyproc._base.modules import kind_of, of_kind, public
from polyproc._base.process_state import log
from polyproc._base.typing import (
    TYPE_CHECKING,
    Any,
    Callable,
    Generic,
    Iterable,
    Iterator,
    MutableMapping,
    MutableSequence,
    Self,
    TypeVar,
)
from polyproc._cleanup import register_after_fork
from polyproc._managers.links import PROXY, RETURN, Token, answer_of, links, servers_here
from polyproc._managers.serving import serving
from polyproc._pickling import sending
from polyproc._platform.handles import due
from polyproc._process.process import current_process

if TYPE_CHECKING:
    from polyproc._managers import async_proxy as coroutines
    from polyproc._managers.proxy_types import ArrayMethods, DictMethods, ListMethods, PoolMethods, SetMethods

T = TypeVar("T")
V = TypeVar("V")

# BaseProxy: stands for an object in a manager's server; and proxies that are made from a list of methods.

_OF_LINK = "of_link"  # among what a proxy's pickle tells: it is part of an answer


def the_server(address: Any) -> Any:
    """Return the manager's server that this process is, or has, if it is the one at an address."""
    server = getattr(current_process(), "_manager_server", None)
    return server if server is not None and server.address == address else servers_here.get(address)


@public("managers")
class BaseProxy:
    """Stands for an object in a manager's server.

    It holds a reference there as long as it lives, in this process; a copy that arrives in another holds its own.
    Calls wait for the answer. They raise what the method raised, RemoteError for what cannot be brought over, and
    OSError or EOFError when the server is gone. In the server itself a proxy calls its object directly.
    """

    def __init__(  # noqa: PLR0913  (the documented signature)
        self,
        token: Token,
        serializer: str,
        manager: Any = None,
        authkey: bytes | None = None,
        exposed: Any = None,
        incref: bool = True,
        manager_owned: bool = False,
    ) -> None:
        self._token = token
        self._id = token.id
        self._manager = manager
        self._serializer = serializer
        self._exposed = exposed
        if authkey is None:
            authkey = current_process().authkey if manager is None else manager._authkey
        self._authkey = bytes(authkey)
        self._owner = the_server(token.address)
        self._link = None if self._owner is not None else self._linked()
        if incref or self._owner is not None:
            self._incref()
        self._is_counted = True
        if self._owner is None or servers_here:
            register_after_fork(self, BaseProxy._after_fork)

    @property
    def aio(self) -> coroutines.AsyncProxy:
        """The methods as coroutines, for asyncio and trio: `await proxy.aio.get()`, `async with lock.aio`."""
        from polyproc._managers.async_proxy import AsyncProxy

        return AsyncProxy(self)

    def _linked(self) -> Any:
        tls = None if self._manager is None else self._manager._tls
        return links.to(self._token.address, self._serializer, self._authkey, tls)

    def _callmethod(self, methodname: str, args: tuple[Any, ...] = (), kwds: dict[str, Any] = {}) -> Any:  # noqa: B006
        """Call a method of the referent; return the answer."""
        if self._owner is not None:
            return self._call_here(methodname, args, kwds)
        kind, result = self._link.ask((self._id, methodname, args, kwds))  # type: ignore[union-attr]
        if kind == RETURN:
            return result
        if kind == PROXY:
            exposed, token = result
            return self._proxy_of(token, exposed)
        try:
            return answer_of(kind, result)
        finally:
            del result

    def _proxy_of(self, token: Token, exposed: Any) -> Any:
        registry = AutoProxy if self._manager is None else self._manager._registry[token.typeid][3]
        token.address = self._token.address
        # The server counts the new reference as this process's already.
        return registry(
            token, self._serializer, manager=self._manager, authkey=self._authkey, exposed=exposed, incref=False
        )

    def _call_here(self, methodname: str, args: tuple[Any, ...], kwds: dict[str, Any]) -> Any:
        obj = self._owner.id_to_obj[self._id].obj
        if methodname == "#GETVALUE":
            return obj
        return self._owner.invoke(serving.client, obj, methodname, args, kwds)

    def _in_place(self, operator: str, value: object) -> Self:
        """Change the referent by an operator such as `+=`; the proxy stays the same object."""
        self._callmethod(operator, (value,))
        return self

    def _getvalue(self) -> Any:
        """Return a copy of the referent."""
        return self._callmethod("#GETVALUE")

    def _ask_server(self, function: str, *args: Any) -> Any:
        return answer_of(*self._link.ask((None, function, args, {})))  # type: ignore[union-attr]

    def _incref(self) -> None:
        passage, self._token.passage = self._token.passage, None
        if self._owner is not None:
            self._owner.incref("", self._id, passage)
        else:
            self._ask_server("incref", self._id, passage)
        log.debug("INCREF %r", self._id)

    def __del__(self) -> None:
        if not getattr(self, "_is_counted", False):  # it was not made whole: the reference is another proxy's
            return
        owner, link = self._owner, self._link
        try:
            if owner is not None:
                owner.references.drop("", self._id)
            elif link is not None:
                link.drop(self._id)
        except Exception as error:  # noqa: BLE001  (at the interpreter's end; the server sees our end anyway)
            log.debug("a reference could not be dropped: %s", error)

    def _after_fork(self) -> None:
        """In a forked child: hold a reference of our own, by a connection of our own."""
        self._manager = None
        if self._owner is not None:  # which stays with the parent
            self._owner, self._link = None, self._linked()
        links.check()
        link = self._link
        assert link is not None  # else it is not registered
        if link.inherits:
            link.anchor  # noqa: B018  (by which our end is seen)
        else:
            self._is_counted = False
            self._incref()
            self._is_counted = True

    def __reduce__(self) -> tuple[Any, ...]:
        kwds: dict[str, Any] = {}
        if sending.current() is not None:
            kwds["authkey"] = self._authkey
        token = type(self._token)(self._token.typeid, self._token.address, self._id, links.new_passage())
        if self._owner is not None:
            self._owner.references.lend(self._id, token.passage)
            if serving.client is not None and serving.client.is_answering:
                kwds[_OF_LINK] = True
        elif self._link is not None:
            self._link.lend(self._id, token.passage)
        if getattr(self, "_isauto", False):
            kwds["exposed"] = self._exposed
            return RebuildProxy, (AutoProxy, token, self._serializer, kwds)
        return RebuildProxy, (kind_of(self), token, self._serializer, kwds)

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        return self._getvalue()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} object, typeid {self._token.typeid!r} at {id(self):#x}>"

    def __str__(self) -> str:
        """Return what the referent's repr is."""
        try:
            text: str = self._callmethod("__repr__")
        except Exception:  # noqa: BLE001  (its server may be gone)
            return repr(self)[:-1] + "; '__str__()' failed>"
        return text


def RebuildProxy(func: Callable[..., Any] | str, token: Token, serializer: str, kwds: dict[str, Any]) -> Any:
    """Make a proxy that has arrived in another process.

    One that a server has sent in an answer is of that server: it has the address, the key and the encryption of the
    link by which it came. Another has the key of the link that there is to its server, if any.
    """
    link = links.answering().link() if kwds.pop(_OF_LINK, False) else links.known(token.address, serializer)
    if link is not None and the_server(token.address) is None:
        token.address = link.address
        kwds.setdefault("authkey", link.authkey)
    make: Callable[..., Any] = of_kind(func) if isinstance(func, str) else func
    return make(token, serializer, incref=True, **kwds)


def MakeProxyType(name: str, exposed: Any, _cache: dict[Any, type] = {}) -> Any:  # noqa: B006  (the documented one)
    """Return a proxy type with methods that are handed on to the referent."""
    exposed = tuple(exposed)
    if (name, exposed) not in _cache:
        methods: dict[str, Any] = {method: _handing_on(method) for method in exposed}
        methods["_exposed_"] = exposed
        _cache[name, exposed] = type(name, (BaseProxy,), methods)
    return _cache[name, exposed]


def _handing_on(name: str) -> Callable[..., Any]:
    def method(self: BaseProxy, /, *args: Any, **kwds: Any) -> Any:
        return self._callmethod(name, args, kwds)

    method.__name__ = method.__qualname__ = name
    return method


def AutoProxy(  # noqa: PLR0913  (the documented signature)
    token: Token,
    serializer: str,
    manager: Any = None,
    authkey: bytes | None = None,
    exposed: Any = None,
    incref: bool = True,
    manager_owned: bool = False,
) -> Any:
    """Return a proxy that has the public methods of its referent."""
    if exposed is None:
        owner = the_server(token.address)
        if owner is not None:
            exposed = tuple(owner.id_to_obj[token.id].exposed)
        else:
            key = bytes(current_process().authkey if authkey is None else authkey)
            link = links.to(token.address, serializer, key)
            exposed = answer_of(*link.ask((None, "get_methods", (token.id,), {})))
    proxy = MakeProxyType(f"AutoProxy[{token.typeid}]", exposed)(
        token, serializer, manager=manager, authkey=authkey, exposed=exposed, incref=incref
    )
    proxy._isauto = True
    return proxy


def _made(name: str, exposed: str, /, *, is_shown: bool = False, **types: str) -> Any:
    """Make a proxy type of this module from the names of its methods, and the types that some of them return."""
    made = MakeProxyType(name, exposed.split())
    made.__class_getitem__ = classmethod(GenericAlias)
    if types:
        made._method_to_typeid_ = types
    if not is_shown:
        return made
    made.__module__ = __name__
    return public("managers")(made)


@public("managers")
class IteratorProxy(BaseProxy):
    """A proxy of an iterator or a generator."""

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
    """A proxy of a lock or a semaphore. When a process ends that holds a lock, it is unlocked."""

    _exposed_: tuple[str, ...] = ("acquire", "release", "locked")

    @property
    def aio(self) -> coroutines.AsyncAcquirerProxy:
        """The methods as coroutines, for asyncio and trio: `await lock.aio.acquire(timeout=1)`."""
        from polyproc._managers.async_proxy import AsyncAcquirerProxy

        return AsyncAcquirerProxy(self)

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
    """A proxy of a condition."""

    _exposed_ = ("acquire", "release", "wait", "notify", "notify_all", "locked")

    @property
    def aio(self) -> coroutines.AsyncConditionProxy:
        """The methods as coroutines, for asyncio and trio: `await condition.aio.wait()`."""
        from polyproc._managers.async_proxy import AsyncConditionProxy

        return AsyncConditionProxy(self)

    def wait(self, timeout: float | None = None) -> bool:
        """Wait to be notified, up to `timeout` seconds; return whether that happened."""
        notified: bool = self._callmethod("wait", (timeout,))
        return notified

    def notify(self, n: int = 1) -> None:
        """Wake up to `n` waiters."""
        self._callmethod("notify", (n,))

    def notify_all(self) -> None:
        """Wake all waiters."""
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
    """A proxy of an event."""

    _exposed_ = ("is_set", "set", "clear", "wait")

    @property
    def aio(self) -> coroutines.AsyncEventProxy:
        """The methods as coroutines, for asyncio and trio: `await event.aio.wait()`."""
        from polyproc._managers.async_proxy import AsyncEventProxy

        return AsyncEventProxy(self)

    def is_set(self) -> bool:
        """Return whether it is set."""
        return bool(self._callmethod("is_set"))

    def set(self) -> None:
        """Set it, and wake all waiters."""
        self._callmethod("set")

    def clear(self) -> None:
        """Unset it."""
        self._callmethod("clear")

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is set, up to `timeout` seconds; return whether it is."""
        return bool(self._callmethod("wait", (timeout,)))


@public("managers")
class BarrierProxy(BaseProxy):
    """A proxy of a barrier."""

    _exposed_ = ("__getattribute__", "wait", "abort", "reset")

    @property
    def aio(self) -> coroutines.AsyncBarrierProxy:
        """The methods as coroutines, for asyncio and trio: `await barrier.aio.wait()`."""
        from polyproc._managers.async_proxy import AsyncBarrierProxy

        return AsyncBarrierProxy(self)

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the others, up to `timeout` seconds; return our number. Raises BrokenBarrierError."""
        number: int = self._callmethod("wait", (timeout,))
        return number

    def abort(self) -> None:
        """Break it."""
        self._callmethod("abort")

    def reset(self) -> None:
        """Make it whole; waiters get BrokenBarrierError."""
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
    """A proxy of a namespace: a name that does not begin with an underscore is the namespace's attribute."""

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
class ValueProxy(BaseProxy, Generic[T]):
    """A proxy of a value."""

    _exposed_ = ("get", "set")

    @property
    def aio(self) -> coroutines.AsyncValueProxy[T]:
        """The methods as coroutines, for asyncio and trio: `await value.aio.get()`."""
        from polyproc._managers.async_proxy import AsyncValueProxy

        return AsyncValueProxy(self)

    def get(self) -> T:
        """Return the value."""
        value: T = self._callmethod("get")
        return value

    def set(self, value: T) -> None:
        """Set the value."""
        self._callmethod("set", (value,))

    @property
    def value(self) -> T:
        """The value; it can be set."""
        return self.get()

    @value.setter
    def value(self, value: T) -> None:
        self.set(value)


if TYPE_CHECKING:

    class BaseListProxy(BaseProxy, ListMethods[T]):
        """A proxy of a list."""

    class _BaseDictProxy(BaseProxy, DictMethods[T, V]): ...

    class _BaseSetProxy(BaseProxy, SetMethods[T]): ...

    class ArrayProxy(BaseProxy, ArrayMethods):
        """A proxy of an array."""

    class _BasePoolProxy(BaseProxy, PoolMethods): ...

else:
    BaseListProxy = _made(
        "BaseListProxy",
        "__add__ __contains__ __delitem__ __getitem__ __imul__ __len__ __mul__ __reversed__ __rmul__ "
        "__setitem__ append clear copy count extend index insert pop remove reverse sort",
        is_shown=True,
    )
    _BaseDictProxy = _made(
        "_BaseDictProxy",
        "__contains__ __delitem__ __getitem__ __ior__ __iter__ __len__ __or__ __reversed__ __ror__ "
        "__setitem__ clear copy fromkeys get items keys pop popitem setdefault update values",
        __iter__="Iterator",
    )
    _BaseSetProxy = _made(
        "_BaseSetProxy",
        "__and__ __class_getitem__ __contains__ __iand__ __ior__ __isub__ __iter__ __ixor__ __len__ __or__ "
        "__rand__ __ror__ __rsub__ __rxor__ __sub__ __xor__ __ge__ __gt__ __le__ __lt__ add clear copy "
        "difference difference_update discard intersection intersection_update isdisjoint issubset issuperset "
        "pop remove symmetric_difference symmetric_difference_update union update",
        __iter__="Iterator",
    )
    ArrayProxy = _made("ArrayProxy", "__len__ __getitem__ __setitem__", is_shown=True)
    _BasePoolProxy = _made(
        "PoolProxy",
        "apply apply_async close imap imap_unordered join map map_async starmap starmap_async terminate",
        apply_async="AsyncResult",
        map_async="AsyncResult",
        starmap_async="AsyncResult",
        imap="Iterator",
        imap_unordered="Iterator",
    )


@public("managers")
class ListProxy(BaseListProxy[T]):
    """A proxy of a list."""

    def __iadd__(self, value: Iterable[T]) -> Self:  # type: ignore[override]
        self._callmethod("extend", (value,))
        return self

    def __imul__(self, value: int) -> Self:  # type: ignore[override]
        return self._in_place("__imul__", value)


@public("managers")
class DictProxy(_BaseDictProxy[T, V]):
    """A proxy of a dictionary."""

    def __ior__(self, value: Any) -> Self:  # type: ignore[override, misc]
        return self._in_place("__ior__", value)


@public("managers")
class SetProxy(_BaseSetProxy[T]):
    """A proxy of a set."""

    def __ior__(self, value: Any) -> Self:  # type: ignore[misc]
        return self._in_place("__ior__", value)

    def __iand__(self, value: Any) -> Self:  # type: ignore[misc]
        return self._in_place("__iand__", value)

    def __ixor__(self, value: Any) -> Self:  # type: ignore[misc]
        return self._in_place("__ixor__", value)

    def __isub__(self, value: Any) -> Self:  # type: ignore[misc]
        return self._in_place("__isub__", value)


@public("managers")
class PoolProxy(_BasePoolProxy):
    """A proxy of a pool."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.terminate()


MutableSequence.register(BaseListProxy)  # type: ignore[type-abstract]
MutableMapping.register(_BaseDictProxy)  # type: ignore[type-abstract]
