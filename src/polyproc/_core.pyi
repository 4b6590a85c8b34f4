"""The C core as Python sees it: its one reference page."""

from collections.abc import Callable, Sequence
from typing import Any, Self, TypeVar

_T = TypeVar("_T")

CRASHPOINTS: int
"""1 when the crash points of csrc/core/pp_crash.h are compiled in, which is for tests alone."""

def clone_ready() -> int:
    """Return whether `clone_sibling` may be used now.

    Returns:
        0, or an errno value: EBUSY, this process has other threads; ENOSYS, the kernel or the C library lacks what
        is needed; EPERM, this process is the init of a pid namespace.
    """

def clone_sibling() -> tuple[int, int]:
    """Fork a child whose parent is this process's own parent, by clone(2) with CLONE_PARENT.

    The at-fork handlers of `os.register_at_fork` run as they do in `os.fork`; those of pthread_atfork(3) do not.

    Returns:
        (pid, pidfd) in the caller, (0, -1) in the child.

    Raises:
        OSError: as `clone_ready` says, or what clone(2) says (EAGAIN, ENOMEM). Nothing was started.
    """

def fork_parked(
    fd: int,
    children: int,
    comm: str,
    parking: tuple[tuple[tuple[Queue, int], ...], int, int, int, int, int, tuple[int, ...], tuple[int, ...]]
    | None = None,
    /,
) -> tuple[int, object, int, int]:
    """Fork a copy that makes children of this process, then waits until `fd`, a socket, has something for it.

    While it waits it runs nothing; it ends when this process does, or the other end of `fd` is closed. The at-fork
    handlers of each child run in it at once, those of the copy when it has something to do. There must be no other
    threads. Before its pid is told a child bears the name `comm`.

    With `parking` the children wait in the same way, each until its queue has a message. If that is shut down in place
    of it, the child ends with an exit code of 0, which is noted in its black box. `parking` is what each has for that
    (its queue, its box's descriptor), and for all: the read end of a pipe whose end kills them, its write end and two
    more descriptors to be closed, -1 or what standard input becomes, the signals that they ignore, and those that are
    blocked meanwhile.

    Returns:
        (pid of the copy, for `team_pids` or None, -1, -1) in the caller, at once;
        (0, None, the child's place, what it hangs on by) in a child; the copy's place is -1. A child that did not park
        hangs on by nothing: -1.

    Raises:
        OSError: what fork(2) says (EAGAIN, ENOMEM).
    """

def team_pids(team: object, copy: int, /) -> tuple[int, ...]:
    """Wait until the children of a copy are made; return for each its pid, or the negative errno.

    A copy that is gone, or says nothing for five seconds, makes no more: -ECHILD.
    """

def hang_on(fd: int, /) -> int:
    """Have the kernel kill this process as soon as the last writer of the pipe that `fd` reads from is gone.

    Returns:
        A descriptor that is to stay open; 0 if they are gone already.

    Raises:
        OSError: this system cannot do that.
    """

def let_go(fd: int, /) -> None:
    """Close, in a copy of a process, what `hang_on` gave that; not what the program has put in its place."""

def set_flag(index: int, value: int, /) -> None:
    """Put a value into `sys.flags`, which Python code cannot change. Raises IndexError where there is no such index."""

def set_name(name: str, /) -> None:
    """Set this process's name, as ps shows it (prctl(2), PR_SET_NAME): the first 15 bytes count."""

def refused_calls() -> dict[str, int]:
    """Try the system calls of the core, without effect; return those that are refused here, and with which errno."""

def dumps_plain(obj: Any, /) -> bytes | None:
    """Pickle a small object that is built of numbers, text, bytes and None; return None for any other."""

def attach(fd: int, registry_fd: int, /) -> bytes:
    """Map a chunk of shared memory that came from another process; return its id. The descriptors stay the caller's.

    Raises:
        ValueError: this is no such memory.
        OSError: it cannot be mapped.
    """

def hold(id: bytes, /) -> tuple[int, int]:
    """Keep a chunk mapped; return its descriptor and its registry's, the core's own. KeyError if it is not here."""

def detach(id: bytes, /) -> None:
    """Undo one `attach` or `hold`; a chunk without handles is unmapped. KeyError if it is not here."""

def direct(cls: type[_T], /) -> type[_T]:
    """Give a class the methods of the class here that it extends as its own, where it defines none: cheaper to call.

    Those are what the interpreter calls without a detour; __enter__ and __exit__ are bound without an allocation.
    """

def segment_name() -> str:
    """Return a name for a segment, "/psm_" and 8 digits of the time: one that is hardly taken."""

def batch_begin(buffer: Any, place: int, /) -> None:
    """In a pool's worker: come to the batch at a place. `buffer` begins with the word: csrc/core/pp_batch_cursor.h."""

def batch_claim(buffer: Any, /) -> bool:
    """In a pool's worker: take the next chunk of the batch; False if the pool has taken back what is left."""

def batch_close(buffer: Any, place: int, /) -> int:
    """In a pool: have the worker take no more of the batch at a place.

    Returns how many chunks it has begun; the others are the caller's again. -1: it is not at that batch.
    """

def await_soon(fd: int, learnt: bytearray, /) -> bool:
    """Wait up to a second for something to read, without the GIL; look for it first, where what came last came soon.

    What is learnt stands in `learnt`, twelve bytes of a descriptor's own; zero at first.
    """

def check_waits(check: Callable[[], object] | None, /) -> None:
    """Have `check` called now and then while this thread waits for a lock, a queue and the like; None for nothing.

    What it raises ends the wait, as what a signal handler raises does.
    """

def leave() -> None:
    """Say that this process comes to an orderly end: plain locks that it still holds stay held."""

def crash_at(name: str, /) -> None:
    """With crash points: end this process by SIGKILL when it comes to that point; "stop:" before it: stop it, once."""

class _Handle:
    def _where(self) -> tuple[bytes, int]:
        """Return the id of the chunk and the place in it."""

class _Lock(_Handle):
    recovered: bool
    owner: int | None
    def acquire(self, block: bool = True, timeout: float | None = None) -> bool:
        """Take it; wait while another holds it, up to `timeout` seconds. Return whether it was taken.

        If its owner died it is taken at once, with an OwnerDiedWarning. A signal handler may run during the wait, and
        what it raises comes through.
        """
    def release(self) -> None:
        """Give it back. A Lock: whoever took it, ValueError if nobody did. An RLock: AssertionError unless ours."""
    def __enter__(self) -> bool: ...
    def __exit__(self, *args: object) -> None: ...
    def locked(self) -> bool:
        """Return whether it is held."""
    def _is_mine(self) -> bool:
        """Return whether this thread holds it."""
    def _count(self) -> int:
        """Return how often this process holds it."""

class Lock(_Lock):
    def __new__(cls, *args: object, **kwds: object) -> Self: ...
    @classmethod
    def _adopt(cls, id: bytes, offset: int, /) -> Self: ...

class RLock(_Lock):
    def __new__(cls, *args: object, **kwds: object) -> Self: ...
    @classmethod
    def _adopt(cls, id: bytes, offset: int, /) -> Self: ...

class Semaphore(_Handle):
    recovered: bool
    def __new__(cls, value: int, bounded: bool, /) -> Self: ...
    @classmethod
    def _adopt(cls, id: bytes, offset: int, /) -> Self: ...
    def acquire(self, block: bool = True, timeout: float | None = None) -> bool:
        """Take a token; wait while there is none, up to `timeout` seconds. Return whether one was taken."""
    def release(self) -> None:
        """Give a token back. ValueError if a bounded semaphore has all."""
    def __enter__(self) -> bool: ...
    def __exit__(self, *args: object) -> None: ...
    def get_value(self) -> int:
        """Return how many tokens are free at this moment."""
    def locked(self) -> bool:
        """Return whether none is free."""

class Event(_Handle):
    def __new__(cls, *args: object, **kwds: object) -> Self: ...
    @classmethod
    def _adopt(cls, id: bytes, offset: int, /) -> Self: ...
    def is_set(self) -> bool:
        """Return whether the flag is set."""
    def set(self) -> None:
        """Set the flag; wake all who wait. Never waits."""
    def clear(self) -> None:
        """Clear the flag."""
    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the flag is set, up to `timeout` seconds; return whether it was."""

class Condition(_Handle):
    _lock: Any
    def __new__(cls, lock: object, /) -> Self: ...
    @classmethod
    def _adopt(cls, id: bytes, offset: int, lock: object, /) -> Self: ...
    def wait(self, timeout: float | None = None) -> bool:
        """Release the lock, wait to be notified, up to `timeout` seconds, and take the lock again.

        Returns False if the time ran out first. AssertionError if the caller does not hold the lock.
        """
    def notify(self, n: int = 1) -> None:
        """Wake up to `n` waiters. AssertionError if the caller does not hold the lock."""
    def notify_all(self) -> None:
        """Wake all waiters."""
    def __enter__(self) -> bool: ...
    def __exit__(self, *args: object) -> None: ...
    def _waiting(self) -> int:
        """Return how many wait; one that was killed stays counted."""

class Barrier(_Handle):
    broken: bool
    n_waiting: int
    parties: int
    def __new__(cls, parties: int, /) -> Self: ...
    @classmethod
    def _adopt(cls, id: bytes, offset: int, /) -> Self: ...
    def _call_off(self, called_off: bytearray, /) -> None: ...
    def _come(
        self, timeout: float | None, action: Callable[[], object] | None, called_off: bytearray | None, /
    ) -> int | None:
        """Come and wait for the others, or run the action and let them go; None when it is broken."""
    def abort(self) -> None:
        """Break it: who waits, and who comes, gets BrokenBarrierError."""
    def reset(self) -> None:
        """Start anew; who waits gets BrokenBarrierError."""

class _Memory(_Handle):
    _code: str
    def __new__(cls, code: str, length: int, lock: object, /) -> Self: ...
    @classmethod
    def _adopt(cls, id: bytes, offset: int, code: str, lock: object, /) -> Self: ...
    def __buffer__(self, flags: int, /) -> memoryview: ...

class Memory(_Memory):
    """Bytes, as a buffer."""

class _Guarded(_Memory):
    def get_lock(self) -> Any:
        """Return the lock."""
    def __enter__(self) -> Any: ...
    def __exit__(self, *args: object) -> None: ...

class Scalar(_Guarded):
    value: Any
    """The value; read and written under the lock."""
    def add(self, amount: Any, /) -> Any:
        """Add to the value, in one step for all who use the lock; return the sum."""

class Array(_Guarded):
    """Numbers or characters; items and slices are read and written under the lock."""
    def __len__(self) -> int: ...
    def __getitem__(self, key: Any, /) -> Any: ...
    def __setitem__(self, key: Any, value: Any, /) -> None: ...

class Queue(_Handle):
    """Records in shared memory, for any number of producers and consumers: csrc/core/pp_queue.h."""

    _closed: bool
    def put(self, obj: Any, block: bool = True, timeout: float | None = None) -> None:
        """Add an item; wait up to `timeout` seconds for a free place, if the number of items is limited.

        Raises queue.Full, ShutDown, ValueError (closed), OSError (no memory), and what pickling raises.
        """
    def put_nowait(self, obj: Any, /) -> None:
        """Add an item or raise queue.Full."""
    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        """Remove and return the oldest item; wait up to `timeout` seconds for one.

        Raises queue.Empty, ShutDown (and nothing is left), ValueError (closed), and what unpickling raises: that item
        is gone, the others are not.
        """
    def get_nowait(self) -> Any:
        """Remove and return the oldest item or raise queue.Empty."""
    def qsize(self) -> int:
        """Return the number of items at this moment."""
    def empty(self) -> bool:
        """Return whether nothing can be got at this moment. Raises OSError if it is closed and was used."""
    def full(self) -> bool:
        """Return whether nothing can be put at this moment."""
    def _create(self, max: int, joinable: bool, signal_in: int, signal_out: int, /) -> None:
        """Make a queue of up to `max` items, 0 for no limit. The descriptors of a non-blocking pipe become its own."""
    def _attach(self, id: bytes, offset: int, signal_in: int, signal_out: int, /) -> None:
        """Be a handle to a queue of another process. Raises ValueError where there is none."""
    def _close(self, for_good: bool, /) -> None:
        """Refuse to put and get in this process: by ValueError, until it forks, or by OSError."""
    def _await(self, timeout: float | None, /) -> bool:
        """Wait until there is an item, or it is shut down; take nothing."""
    def _put_packed(self, kind: int, data: bytes, slot: Slot | int | None, deadline: int, tag: int, /) -> None:
        """Put a record: see polyproc._pickling.shared_queue. Its slot is then the queue's."""
    def _put_pickles(self, records: list[tuple[int, tuple[bytes, Sequence[Any]]]], /) -> int:
        """Put pickles, each with its tag; return how many: those before one that is long, has buffers or is refused."""
    def _put_tagged(self, tag: int, obj: Any, /) -> None:
        """Put an item with 16 bits beside it."""
    def _get_record(self, timeout: float | None, /) -> tuple[int, int, bytes, Slot | None]:
        """Take the oldest record as it is: its tag, kind, bytes and slot. Raises queue.Empty, ShutDown."""
    def _try_record(self) -> tuple[int, int, bytes, Slot | None]:
        """The same, waiting for nothing: also not for another consumer. Raises queue.Empty, also where there is one."""
    def _wakes(self, waker: Queue, /) -> None:
        """Wake the consumer of another queue from now on, where this one's would be woken. OSError without memory."""
    def _lend(self) -> int:
        """Have another thread wait for the next record, and not who hears its set: the set passes it by.

        Returns: a number for this time, which is not 0.
        """
    def _call_in(self, wakes: bool, /) -> bool:
        """End that, and wake who waits; say whether there are items, of which nobody may have been told."""
    def _await_lent(self, time: int, /) -> bool:
        """Wait until there is a record in a queue that is lent; False if this time is over."""
    def _keep(self, items: list[Any], /) -> None:
        """Have items that were taken be got next, in this process."""
    def _drop_one(self) -> bool:
        """Throw away the oldest item; say whether there was one."""
    def _slot(self, size: int, /) -> Slot:
        """Take a slot for a large message. Raises OSError: EMSGSIZE, ENOSPC."""
    def _slot_reserve(self, size: int, /) -> int:
        """Take a slot that nobody gives back, and return its number: for tests."""
    def _slot_memory(self) -> int:
        """Return the bytes of memory that slots have."""
    def _poll_on(self) -> int:
        """Return a descriptor that is readable from now on while there are items."""
    def _end(self) -> None:
        """Shut it down: nothing can be put, and nothing got when it is empty."""
    def _task_done(self) -> None:
        """Say that an item is done. Raises ValueError when all are."""
    def _join(self) -> None:
        """Wait until all items are done, but for those that dead processes had taken."""
    def _unfinished(self) -> int:
        """Return how many are not done."""

class QueueSet:
    """Queues with one consumer, which sleeps on one more, their waker: csrc/core/pp_queue_set.h."""

    def __new__(cls, waker: Queue, queues: tuple[Queue, ...], /) -> QueueSet: ...
    def get_records(self, timeout: float | None, most: int, /) -> list[tuple[int, int, bytes, Slot | None] | None]:
        """Wait up to `timeout` seconds for records; take up to `most` that are there.

        They are of each queue in turn, and of the waker behind all that was in the others.
        Without memory there may be None behind them.
        """
    def has_items(self) -> bool:
        """Say whether there is one at this moment."""

class Slot:
    """A slot of a queue that this process holds. It goes back with this object, unless its record was put."""

    number: int
    def write(self, offset: int, buffer: Any, /) -> None:
        """Write to it. Raises OSError without memory."""
    def read(self, size: int, /) -> bytes:
        """Return the bytes that it begins with."""
    def open(self, record: bytes, /) -> bytes | bytearray:
        """Return the bytes that a record tells of, and give it back."""
    def map(self, size: int, /) -> Self:
        """Map its memory, privately: from here on it is a buffer, and goes back with the last view of it."""
    def give(self) -> None:
        """Give it back, if it is held and not mapped."""
    def __buffer__(self, flags: int, /) -> memoryview: ...

class Latch:
    """A flag that threads of this process wait for; once it is set it stays. `threading.Event` without `clear`."""

    def set(self) -> None:
        """Wake all who wait, and all who will."""
    def is_set(self) -> bool:
        """Return whether it is set."""
    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is set, up to `timeout` seconds; say whether it is. What a signal handler raises ends it."""

class Lines:
    """What a SharedMemory asks the tracker each time. What extends it has `ensure_running`, `register`, `unregister`.

    `_mark` is what names at random begin with, of which the tracker need not be told.
    """

    _mark: str
    def _map(self, fd: int) -> None:
        """Keep a file open by a mapping, in place of the one before; -1 for none."""

class Segment:
    """The mapping of a SharedMemory, as a buffer. It is unmapped by `close`, or with the last view of it."""

    def close(self) -> None:
        """Unmap it. Raises BufferError while there are views."""
    def __len__(self) -> int: ...
    def __buffer__(self, flags: int, /) -> memoryview: ...

class SharedMemory:
    """What our SharedMemory extends by `_tracker` and `_make_filename`: csrc/bind/py_shared_memory.c."""

    _name: str | None
    _fd: int
    _size: int
    _track: bool
    _buf: memoryview | None
    _mmap: Segment | None
    def __init__(self, name: str | None = None, create: bool = False, size: int = 0, *, track: bool = True) -> None: ...
    @property
    def name(self) -> str:
        """The name, by which other processes attach."""
    @property
    def size(self) -> int:
        """The size in bytes."""
    @property
    def buf(self) -> memoryview:
        """The bytes; None after `close`."""
    def close(self) -> None:
        """Unmap it here; other processes are not concerned. Raises BufferError while views of it are in use."""
    def unlink(self) -> None:
        """Remove the name; the memory is freed when the last process has closed it. To be called once."""

class Connection:
    """Framed messages over a descriptor: csrc/core/pp_frame.h."""

    closed: bool
    readable: bool
    writable: bool
    _handle: int | None
    def __init__(self, handle: int, readable: bool = True, writable: bool = True) -> None: ...
    def send(self, obj: Any, /) -> None:
        """Send an object that can be pickled."""
    def recv(self) -> Any:
        """Receive an object. Raises EOFError when nothing is left and the other end is closed."""
    def send_bytes(self, buf: Any, offset: int = 0, size: int | None = None) -> None:
        """Send the bytes of a bytes-like object as one message."""
    def recv_bytes(self, maxlength: int | None = None) -> bytes:
        """Receive a message as bytes.

        Raises EOFError, and OSError if it is longer than `maxlength`: the connection cannot be read any more then.
        """
    def recv_bytes_into(self, buf: Any, offset: int = 0) -> int:
        """Receive a message into a writable buffer; return its length. BufferTooShort carries one that is too long."""
    def _send_bytes(self, data: Any, /) -> None:
        """Send bytes as they are."""
    def _send_waiting(self, obj: Any, /) -> None:
        """Send an object, having said that one waits for the next message: to receive must be what follows."""
    def _exchange(self, obj: Any, /) -> bytes:
        """Send an object, and wait for a message: its answer finds us waiting."""
    def _meet(self, other: Connection | None, beside: int, /) -> None:
        """Let this and the other end hand messages over in shared memory. Raises OSError if there is none.

        None: the other end is in another process, which is told where by `_where`, and its `_side` | 1. `beside`: a
        socket (0), a pipe (1), or a socket by which no program writes (2).
        """
    def _where(self) -> tuple[bytes, int] | None:
        """Return where that memory is: the id of its chunk, and the offset there."""
    def _side(self) -> int:
        """Return which end of it this is."""
    def _join(self, id: bytes, offset: int, side: int, /) -> None:
        """Use such memory of another process. Raises ValueError if there is none."""
    def poll(self, timeout: float | None = 0.0) -> bool:
        """Return whether something can be received, waiting up to `timeout` seconds; None waits without limit."""
    def fileno(self) -> int:
        """Return the descriptor. Raises OSError when closed."""
    def close(self) -> None:
        """Close this end; the other sees the end when all holders have closed it."""
    def __enter__(self) -> Self: ...
    def __exit__(self, *args: object) -> None: ...
