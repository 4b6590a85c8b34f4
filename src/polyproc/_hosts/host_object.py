"""A handle that needs no network on the host where its object was made.

There the object is in memory that processes share, where the C core is there (served_kinds.py). A process of the same
host asks the server for it, once, and gets what it would get by any connection (_pickling/chunk.py); from then on its
calls go there. Elsewhere, and where that memory cannot be had, they go to the server. Whoever calls, it is one object.
"""

from __future__ import annotations

from polyproc._base.process_state import log
from polyproc._base.typing import Any
from polyproc._hosts.same_host import this_host
from polyproc._hosts.served_kinds import IN_MEMORY
from polyproc._managers.proxies import BaseProxy
from polyproc._pickling.pickler import loads


class HostObject(BaseProxy):
    """A handle for an object in the process that made it."""

    _exposed_: tuple[str, ...] = ()
    _here: Any = None  # the object itself, once it was got
    _may_be_here = True

    def _callmethod(self, methodname: str, args: tuple[Any, ...] = (), kwds: dict[str, Any] = {}) -> Any:  # noqa: B006
        """Call a method of the object, here or there; return the answer."""
        if self._may_be_here:
            self._look_here()
        if self._here is not None:
            return getattr(self._here, methodname)(*args, **kwds)
        return super()._callmethod(methodname, args, kwds)

    def _look_here(self) -> None:
        """Get the object, if it was made on this host."""
        self._may_be_here = False
        if self._owner is not None:
            obj = self._owner.object_of(self._id)
            self._here = obj if isinstance(obj, IN_MEMORY) else None
            return
        host = self._token.address[3]
        if not host or host != this_host():
            return
        packed = self._ask_server("in_memory", self._id)
        if packed is None:
            return
        try:
            self._here = loads(packed)
        except Exception as error:  # noqa: BLE001  (whatever keeps one from it: the server has it)
            log.info("an object of this host is used by its server: %r", error)

    @property
    def aio(self) -> Any:
        """The methods as coroutines. They are calls of the server: those can be called off."""
        served = object.__new__(type(self))
        served.__dict__.update(self.__dict__, _here=None, _may_be_here=False, _is_counted=False, _counted=self)
        return super(HostObject, served).aio
