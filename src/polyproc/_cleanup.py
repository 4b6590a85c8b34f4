"""Clean-up: finalizers at exit, what a forked child resets, a directory for sockets.

A finalizer is a callback that runs once: when an object is collected, when it is called, or at exit by its priority.
"""

from __future__ import annotations

import itertools
import os
import weakref
from _thread import _local

from polyproc._base.modules import Later, public
from polyproc._base.process_state import FINALIZERS, LATE_FINALIZERS, exit_sequence, log
from polyproc._base.typing import Any, Callable, Final, Iterable, Mapping, Sequence
from polyproc._platform.posix import have_abstract_sockets

shutil: Any = Later("shutil")
tempfile: Any = Later("tempfile")
threading: Any = Later("threading")
traceback: Any = Later("traceback")

_Key = tuple[int | None, int]
_finalizer_registry: dict[_Key, Finalize] = {}
_finalizer_counter = itertools.count()


@public("util")
class Finalize:
    """Call `callback` once: when `obj` is collected, when this is called, or at exit.

    Args:
        obj: may be None when `exitpriority` is given.
        callback: what to call.
        args: its positional arguments.
        kwargs: its keyword arguments.
        exitpriority: finalizers with one run at exit, the highest first; those without do not.

    A finalizer belongs to the process that made it: in a forked child it does nothing.
    """

    def __init__(
        self,
        obj: object,
        callback: Callable[..., Any],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        exitpriority: int | None = None,
    ) -> None:
        if exitpriority is not None and not isinstance(exitpriority, int):
            raise TypeError(f"Exitpriority ({exitpriority!r}) must be None or int, not {type(exitpriority)!s}")
        if obj is not None:
            self._weakref: weakref.ref[object] | None = weakref.ref(obj, self)
        elif exitpriority is None:
            raise ValueError("Without object, exitpriority cannot be None")
        else:
            self._weakref = None
        self._callback: Callable[..., Any] | None = callback
        self._args = args
        self._kwargs = dict(kwargs or {})
        self._key: _Key = (exitpriority, next(_finalizer_counter))
        self._pid = os.getpid()
        _finalizer_registry[self._key] = self

    def __call__(self, wr: object = None) -> Any:
        """Run the callback unless it has run, was cancelled, or belongs to another process."""
        callback, args, kwargs = self._callback, self._args, self._kwargs
        is_ours = self._pid == os.getpid()
        try:
            del _finalizer_registry[self._key]  # from here on it is called: no signal is looked for before that
        except KeyError:
            log.sub_debug("finalizer no longer registered")
            return None
        self._weakref = self._callback = None
        self._args, self._kwargs = (), {}
        if is_ours and callback is not None:
            return callback(*args, **kwargs)
        log.sub_debug("finalizer ignored because different process")
        return None

    def cancel(self) -> None:
        """Forget the callback."""
        if _finalizer_registry.pop(self._key, None) is not None:
            self._weakref = self._callback = None
            self._args, self._kwargs = (), {}

    def still_active(self) -> bool:
        """Return whether the callback may still run."""
        return self._key in _finalizer_registry

    def __repr__(self) -> str:
        obj = self._weakref() if self._weakref is not None else None
        if self._callback is None:
            return f"<{type(self).__name__} object, dead>"
        text = f"<{type(self).__name__} object, callback={getattr(self._callback, '__name__', self._callback)}"
        if self._args:
            text += f", args={self._args}"
        if self._kwargs:
            text += f", kwargs={self._kwargs}"
        if self._key[0] is not None:
            text += f", exitpriority={self._key[0]}"
        return text + (">" if obj is not None or self._weakref is None else ", object gone>")


def run_finalizers(minpriority: int | None = None) -> None:
    """Run the finalizers that have an exit priority of at least `minpriority` (all, for None), highest first.

    An exception of one is printed and does not stop the others.
    """

    def due(key: _Key) -> bool:
        return key[0] is not None and (minpriority is None or key[0] >= minpriority)

    for key in sorted((k for k in list(_finalizer_registry) if due(k)), reverse=True, key=_order):
        finalizer = _finalizer_registry.get(key)
        if finalizer is not None:
            log.sub_debug("calling %s", finalizer)
            try:
                finalizer()
            except Exception:  # noqa: BLE001  (a user's callback: reported, and the exit goes on)
                traceback.print_exc()
    if minpriority is None:
        _finalizer_registry.clear()


def _order(key: _Key) -> tuple[int, int]:
    return (key[0] or 0, key[1])


exit_sequence.add(FINALIZERS, lambda: run_finalizers(0))
exit_sequence.add(LATE_FINALIZERS, run_finalizers)

# What a forked child must reset, by objects that asked for it; and locks and thread-locals that reset themselves.


_afterfork_registry: weakref.WeakValueDictionary[tuple[int, int, Callable[[Any], object]], object] = (
    weakref.WeakValueDictionary()
)
_afterfork_counter = itertools.count()


def register_after_fork(obj: object, func: Callable[[Any], object]) -> None:
    """Call `func(obj)` in each forked child of ours, as long as `obj` lives; in order of registration."""
    _afterfork_registry[(next(_afterfork_counter), id(obj), func)] = obj


def run_after_forkers() -> None:
    """Call what was registered; a failing one is logged and does not stop the others."""
    for (_, _, func), obj in sorted(_afterfork_registry.items(), key=lambda item: item[0][0]):
        try:
            func(obj)
        except Exception as error:  # noqa: BLE001  (somebody else's callback: reported, and the child goes on)
            log.info("after forker raised exception %s", error)


@public("util")
class ForkAwareThreadLock:
    """A thread lock that is free again in a forked child."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.acquire: Callable[..., bool] = self._lock.acquire
        self.release: Callable[[], None] = self._lock.release
        register_after_fork(self, ForkAwareThreadLock._at_fork_reinit)

    def _at_fork_reinit(self) -> None:
        self._lock._at_fork_reinit()

    def __enter__(self) -> bool:
        entered: bool = self._lock.__enter__()
        return entered

    def __exit__(self, *args: Any) -> None:
        self._lock.__exit__(*args)


@public("util")
class ForkAwareLocal(_local):
    """A thread-local that is empty again in a forked child."""

    def __init__(self) -> None:
        register_after_fork(self, lambda obj: obj.__dict__.clear())

    def __reduce__(self) -> tuple[type, tuple[()]]:
        return type(self), ()


# A directory of this process for sockets and the like, removed at exit; and other parts of the standard `util`.


class TempDir:
    """The directory, made when first asked for. One instance, `temp_dir`."""

    def __init__(self) -> None:
        self._path: str | None = None
        self._pid = 0

    def get(self) -> str:
        """Return its path."""
        if self._path is None or self._pid != os.getpid():
            self._path = tempfile.mkdtemp(prefix="pymp-")
            self._pid = os.getpid()
            Finalize(None, self._remove, args=(self._path,), exitpriority=-100)
        return self._path

    def _remove(self, path: str) -> None:
        shutil.rmtree(path, ignore_errors=True)
        self._path = None


temp_dir = TempDir()
get_temp_dir: Final = temp_dir.get
abstract_sockets_supported: bool = have_abstract_sockets
"""Every user of a machine can connect to one: a listener there looks at each peer's user (_connection/sockets.py)."""


def is_abstract_socket_namespace(address: str | bytes | None) -> bool:
    """Return whether an address is one of Linux's abstract namespace."""
    if not address:
        return False
    if isinstance(address, bytes):
        return address[0] == 0
    if isinstance(address, str):
        return address[0] == "\0"
    raise TypeError(f"address type of {address!r} unrecognized")


def close_all_fds_except(fds: Iterable[int]) -> None:
    """Close all descriptors of this process but these."""
    kept = sorted({*fds})
    for low, high in zip([-1, *kept], [*kept, os.sysconf("SC_OPEN_MAX")], strict=True):
        os.closerange(low + 1, high)


def close_fds(*fds: int) -> None:
    """Close each descriptor."""
    for fd in fds:
        os.close(fd)
