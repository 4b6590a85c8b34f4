"""The handle of a child on another host: what the others have, by what its agent reports."""

from __future__ import annotations

import _thread
import marshal
import os
import threading

from polyproc._base.errors import ProcessDied, ProcessError, TimeoutError
from polyproc._base.typing import TYPE_CHECKING, Any, Protocol, Self
from polyproc._hosts.parcels import refuse
from polyproc._pickling.sending import while_sending
from polyproc._platform.handles import ready
from polyproc._platform.posix import LongLived, close_quietly
from polyproc._process import black_box as box_module
from polyproc._process.preparation import capture, capture_extras, capture_main, pack_objects
from polyproc._start.child import Child, flush_before_start
from polyproc._start.spawn import pack

if TYPE_CHECKING:
    from polyproc._hosts.nodes import Nodes
    from polyproc._process.process import BaseProcess

LOST, PREEMPTED = "host lost", "preempted"
_SIGKILL = 9


class Receiver(Protocol):
    """What takes the bytes of a pool's worker."""

    def receive(self, piece: memoryview) -> None:
        """Take some, in the thread of the worker's node."""
        ...

    def place(self, size: int) -> memoryview | None:
        """Return where the next ones are to be put; None for anywhere."""
        ...

    def note_taken(self, count: int) -> None:
        """Note that so many of those that were sent are the worker's."""
        ...


class RemoteChild(Child):
    """A child on another host. Its sentinel is a pipe that ends when its end is known here."""

    def __init__(self, process_obj: BaseProcess[Any], nodes: Nodes, receiver: Receiver | None = None) -> None:
        self.name = process_obj._name
        self.method = nodes.engine_name
        self.host = ""
        self.id = -1
        self._lock = _thread.allocate_lock()
        self._reason: str | None = None
        self._why = ""
        self._begun = threading.Event()
        self._refusal: str | None = None
        self._ended = threading.Event()
        self._end = -1
        self._receiver = receiver
        self._shared: list[Any] = []  # what its arguments have of share(): kept until it ends
        flush_before_start()
        buffers: list[memoryview] = []
        job = self._describe(process_obj, nodes, buffers)
        self.node = nodes.pick()
        self.host = self.node.name
        self.sentinel, self._end = os.pipe()
        self._watched = LongLived(self.sentinel)
        try:
            self._ask_to_start(job, buffers, nodes.start_timeout)
            if self._refusal is not None:
                raise ProcessError(f"{self.name} could not be started on {self.host!r}: {self._refusal}")
        except BaseException:
            self.node.forget(self)
            self._close_end()
            raise

    def _ask_to_start(self, job: bytes, buffers: list[memoryview], patience: float) -> None:
        """Order its start; return when its agent has answered."""
        try:
            self.node.start(self, job, buffers, self._receiver is not None)
            is_answered = self._begun.wait(patience)
        except TimeoutError:
            is_answered = False
        if not is_answered:
            raise TimeoutError(f"{self.name} could not be started on {self.host!r}: its agent does not answer")

    def _describe(self, process_obj: BaseProcess[Any], nodes: Nodes, buffers: list[memoryview]) -> bytes:
        self._things = nodes.things
        pickled, payload = while_sending(None, self._shared, lambda: pack(process_obj, self, buffers))
        job = pack_objects(capture_main(capture_extras(capture(process_obj.name))))
        job.update(pickled=pickled, payload=payload, modules=nodes.carried(), ancestors=())
        if nodes.has_folder:  # in which the agent is, and not in that of this process
            job.pop("dir", None)
        return marshal.dumps(job)

    def duplicate_for_child(self, fd: int) -> int:
        """Refuse: a descriptor is of this host."""
        refuse(f"what the engine {self.method!r} starts")

    def DupFd(self, fd: int) -> object:
        """Refuse."""
        refuse(f"what the engine {self.method!r} starts")

    def pickled_shared(self, shared: Any) -> tuple[Any, ...]:
        """Return what is pickled for what share() has made."""
        return self._things.pickled(shared)

    # -- what the agent reports, in its node's thread --------------------------------------------------------------

    def note_started(self, pid: int) -> None:
        """Take the process id."""
        self.pid = pid
        self._begun.set()

    def note_refused(self, why: str) -> None:
        """Take why it could not be started."""
        self._refusal = why
        self._begun.set()

    def note_data(self, piece: memoryview) -> None:
        """Take what a pool's worker has written to its pipe."""
        if self._receiver is not None:
            self._receiver.receive(piece)

    def place_for_data(self, size: int) -> memoryview | None:
        """Return where what it has written is to be put."""
        return None if self._receiver is None else self._receiver.place(size)

    def note_taken(self, count: int) -> None:
        """Take how much its pipe has taken."""
        if self._receiver is not None:
            self._receiver.note_taken(count)

    def note_exit(self, code: int, kind: int, data: bytes, *left: Any) -> None:
        """Take its exit code and what it left."""
        self._left = (kind, data)
        self._output, self._stack, self._lacked_memory, is_leaving = left
        if is_leaving and code < 0:
            self._reason = PREEMPTED
        self._settle_end(code)

    def note_lost(self, why: str) -> None:
        """Take that nothing more will be heard of it."""
        self._left = (box_module.NOTHING, b"")
        self._reason, self._why = LOST, why
        if not self._begun.is_set():
            self._refusal = why
        self._settle_end(-_SIGKILL)
        self._begun.set()

    def _settle_end(self, code: int) -> None:
        self.returncode = code
        self._shared.clear()
        self._ended.set()
        self._close_end()

    def _close_end(self) -> None:
        end, self._end = self._end, -1
        close_quietly(end)

    # -- as a child of this host -----------------------------------------------------------------------------------

    def _block(self, again: bool = False) -> None:
        self._ended.wait()

    def _reap(self) -> None:
        """Do nothing: the agent has."""

    def _ensure_sentinel(self) -> int:
        return self.sentinel

    def _runs(self) -> bool:
        return not ready([self.sentinel], 0)

    def signal(self, signum: int) -> None:
        """Send a signal, by its agent; nothing happens if the child has ended."""
        if self.returncode is None:
            self.node.send("signal", self.id, int(signum))

    def tree(self) -> RemoteTree:
        """Return the child and its descendants, as its agent sees them."""
        return RemoteTree(self)

    def outcome(self) -> tuple[bool, Any]:
        """Return as for any child; an exception says on which host it was raised."""
        success, value = super().outcome()
        if not success and not isinstance(value, ProcessDied):
            value.add_note(f"in {self.name} (pid {self.pid}) on the host {self.host}")
        return success, value

    def died(self) -> ProcessDied:
        """Describe how the child ended."""
        died = super().died()
        died.host = self.host
        died.reason = self._reason or died.reason
        if self._why:
            died.add_note(self._why)
        died.args = (died._sentence(),)
        return died

    def __del__(self) -> None:
        super().__del__()
        self._close_end()


class RemoteTree:
    """What `Tree` is for a child of this host."""

    def __init__(self, child: RemoteChild) -> None:
        self._child = child

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        """Do nothing: the agent lets go of it when it has killed it."""

    def look(self) -> None:
        """Make the agent remember which processes are there now."""
        self._child.node.send("look", self._child.id)

    def kill(self) -> None:
        """Make the agent kill them all."""
        self._child.node.send("kill tree", self._child.id)
