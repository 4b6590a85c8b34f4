"""BaseProxy: stands for an object in a manager's server; and proxies that are made from a list of methods."""

from __future__ import annotations

from polyproc._cleanup.after_fork import register_after_fork
from polyproc._lazy import load
from polyproc._log import log
from polyproc._managers.links import links
from polyproc._managers.serving import serving
from polyproc._managers.tokens import PROXY, RETURN, Token, answer_of
from polyproc._pickling import spawning
from polyproc._process.process import current_process
from polyproc._public import kind_of, of_kind, public
from polyproc._typing import Any, Callable

_OF_LINK = "of_link"  # among what a proxy's pickle tells: it is part of an answer


# The servers that this process has, by address, beside the one that it may be: of remote contexts (_hosts).
servers_here: dict[Any, Any] = {}


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
    def aio(self) -> Any:
        """The methods as coroutines, for asyncio and trio: `await proxy.aio.get()`, `async with lock.aio`."""
        return load("polyproc._managers.async_proxy", "AsyncProxy")(self)  # type: ignore[operator]

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
        if spawning.current() is not None:
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
