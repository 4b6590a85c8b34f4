"""The manager of a remote context: its objects are in this process, beside the context's queues and locks."""

from __future__ import annotations

from polyproc._base.typing import TYPE_CHECKING, Any, Callable, Iterable
from polyproc._hosts.object_server import SERIALIZER, HostToken
from polyproc._managers.manager import State, SyncManager

if TYPE_CHECKING:
    from polyproc._hosts.object_server import ObjectServer


class HostManager(SyncManager):
    """Makes objects in the process of the context, which ends with that."""

    def __init__(self, server: ObjectServer) -> None:
        super().__init__(server.address, server.authkey, SERIALIZER)
        self._objects = server
        self._state = State.STARTED

    def start(self, initializer: Callable[..., object] | None = None, initargs: Iterable[Any] = ()) -> None:
        """Refuse: it is started."""
        self._check_initial()

    def shutdown(self) -> None:  # type: ignore[override]  # which others get when they are started
        """Make no more objects; those that there are stay as long as somebody refers to them."""
        self._state = State.SHUTDOWN

    def _create(self, typeid: str, /, *args: Any, **kwds: Any) -> tuple[HostToken, Any]:
        assert self._state == State.STARTED, self._why_not()
        ident, exposed = self._objects.create("", typeid, *args, **kwds)
        return HostToken(typeid, self._address, ident), exposed
