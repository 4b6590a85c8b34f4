"""A child that shares no memory with its parent does its job: it becomes what that says, runs the target, and ends.

The parent's side is `preparation.py`.
"""

from __future__ import annotations

import _signal
import _thread
import marshal
import sys

from polyproc._base.modules import import_sent, load, loaded, os
from polyproc._base.process_state import process_state
from polyproc._platform.posix import LongLived, forks
from polyproc._process import black_box, child_life
from polyproc._process import process as process_module
from polyproc._process.black_box import Box, recorder
from polyproc._process.child_life import MainReached

TYPE_CHECKING = False  # a bare name: a child does without `typing`, type checkers know what is meant

if TYPE_CHECKING:
    from typing import Any, NoReturn

    from polyproc._base.modules import SentModule
    from polyproc._process.preparation import Preparation
    from polyproc._process.process import BaseProcess


# The parent's `__main__` in a child: imported here as `__mp_main__`, from the code that the parent sent.
#
# No guard is needed: the first top-level start ends the import quietly, since every name that a target can need was
# bound above that line.

_HAS_CACHED = sys.version_info < (3, 15)


def import_main(kind: str, name: str, code: bytes) -> None:
    """Make `__main__` and `__mp_main__` the module that the parent described."""
    module = type(sys)("__mp_main__")
    scope: dict[str, Any] = module.__dict__
    if kind == "name":
        spec = _find_spec(name)
        scope.update(__spec__=spec, __package__=name.rpartition(".")[0])
        if spec is not None:
            scope.update(__file__=spec.origin, __loader__=spec.loader)
            if _HAS_CACHED:
                scope["__cached__"] = spec.cached
            scope["__package__"] = spec.parent
    else:
        scope.update(__file__=name, __package__="")
        if _HAS_CACHED:
            scope["__cached__"] = None
    sys.modules["__main__"] = sys.modules["__mp_main__"] = module
    process_state.importing_main = True
    try:
        exec(marshal.loads(code), scope)
    except MainReached:
        pass
    finally:
        process_state.importing_main = False


def _find_spec(name: str) -> Any:
    from importlib.util import find_spec

    package = name.rpartition(".")[0]
    if package:
        __import__(package)
    return find_spec(name)


def apply_preparation(preparation: Preparation) -> None:
    """Become, in the child, what the parent described; then import its main module, if there is one."""
    black_box.name_log_records()
    if "name" in preparation:
        process_state.current.name = preparation["name"]
    if "authkey" in preparation:
        process_state.current.authkey = preparation["authkey"]
    _join_family(preparation)
    if "logging" in preparation:
        from polyproc._base.logger import logging_state

        logging_state.apply(preparation["logging"])
    if "objects" in preparation:
        preparation.update(load("_pickle", "loads")(preparation["objects"]))  # type: ignore[operator]
    if "sys_path" in preparation:
        sys.path[:] = preparation["sys_path"]
    if "sys_argv" in preparation:
        sys.argv = list(preparation["sys_argv"])
    if "dir" in preparation:
        try:
            os.chdir(preparation["dir"])
        except OSError:  # removed meanwhile
            pass
    if preparation.get("frozen"):
        sys.frozen = True  # type: ignore[attr-defined]
    if "extras" in preparation:
        load("_pickle", "loads")(preparation["extras"])  # type: ignore[operator]  # it does what it does as it is opened
    if "main" in preparation:
        import_main(*preparation["main"])


def _join_family(preparation: Preparation) -> None:
    process_state.ancestors = preparation.get("ancestors", ())
    if "hidden_starts" in preparation:
        process_state.hidden_starts = preparation["hidden_starts"]
    if "orig_dir" in preparation:
        process_state.original_dir = preparation["orig_dir"]
    if "start_method" in preparation:
        process_state.start_method = preparation["start_method"]
    if "drop_in" in preparation:
        from polyproc._process.drop_in import install

        install()
    if "tracker" not in preparation:
        return
    fd: int = preparation["tracker"]
    if preparation["tracker_is_sent"]:
        from polyproc._pickling.sending import received

        fd = received.fds[fd]
    os.set_inheritable(fd, False)
    process_state.tracker = preparation["tracker_mark"], LongLived(fd)
    forks.in_others(process_state.leave_tracker)
    module: Any = loaded("polyproc._memory.tracker")
    if module is not None:  # the fork server has imported it
        module.tracker.join(*process_state.tracker)


# The process object on its way to a child that shares no memory: marshalled where that is exact, else pickled.
#
# A target that is found by name, with arguments of the plainest types, needs no pickle module in the child: `_pickle`
# and what it imports cost a bare interpreter more than all else that it loads for us.

_PLAIN = frozenset((type(None), bool, int, float, complex, str, bytes))
_CLASSES = ("Process", "ForkProcess", "SpawnProcess", "ForkServerProcess")
_LIMIT = 1000


def try_marshal(process: BaseProcess[Any], module: SentModule | None = None) -> bytes | None:
    """Return the process object as marshalled state, or None if only pickle does it justice.

    Args:
        process: what to send.
        module: name, file and code of its target's module, if that is to be sent too.
    """
    cls = type(process)
    if cls.__name__ not in _CLASSES or (
        cls is not getattr(process_module, cls.__name__, None) and "_launcher" not in vars(cls)
    ):
        return None
    state = process.__dict__.copy()
    target = state.pop("_target")
    named = None if target is None else _name_of(target)
    if target is not None and named is None:
        return None
    if (state["_args"] or state["_kwargs"]) and not _is_plain((state["_args"], state["_kwargs"]), [_LIMIT]):
        return None
    config = state["_config"] = state["_config"].copy()
    config["authkey"] = bytes(config["authkey"])
    try:
        return marshal.dumps((cls.__name__, named, state, module))
    except ValueError:  # a subclass of str as its name, or the like
        return None


def _name_of(target: object) -> tuple[str, str] | None:
    """Return (module, name) of a function that is found by them, outside of a main module."""
    module = getattr(target, "__module__", None)
    name = getattr(target, "__qualname__", None)
    if type(module) is not str or type(name) is not str or type(target) not in (type(_name_of), type(len), type):
        return None
    if module in ("__main__", "__mp_main__"):
        from polyproc._pickling.main_definitions import main_definitions

        definitions: Any = main_definitions
        if not definitions.goes_by_name(target):
            return None
    return (module, name) if getattr(sys.modules.get(module), name, None) is target else None


def _is_plain(value: object, left: list[int]) -> bool:
    """Return whether marshal brings `value` over exactly: built-in types, no subclass, a tree of limited size."""
    left[0] -= 1
    kind = type(value)
    if kind in _PLAIN:
        return True
    if left[0] < 0:
        return False
    if kind is tuple or kind is list or kind is set or kind is frozenset:
        return all(_is_plain(item, left) for item in value)  # type: ignore[attr-defined]
    if kind is dict:
        return all(_is_plain(k, left) and _is_plain(v, left) for k, v in value.items())  # type: ignore[attr-defined]
    return False


def unmarshal(data: bytes) -> BaseProcess[Any]:
    """Make, in the child, the process object that `try_marshal` described."""
    class_name, named, state, sent = marshal.loads(data)
    cls = getattr(process_module, class_name)
    process: BaseProcess[Any] = cls.__new__(cls)
    process.__dict__.update(state)
    process.authkey = process.authkey
    process._target = None
    if named is not None:
        module, name = named
        if module != "__main__":
            if sent is not None and module not in sys.modules:
                package = module.rpartition(".")[0]
                if package:
                    __import__(package)
                if module not in sys.modules:
                    import_sent(*sent)
            process._target = load(module, name)  # type: ignore[assignment]
        else:
            try:
                process._target = getattr(sys.modules["__main__"], name)
            except AttributeError:
                raise AttributeError(f"Can't get attribute {name!r} on {sys.modules['__main__']!r}") from None
    return process


# The whole of it: from what a child is told to its exit.


def perform_and_exit(job: dict[str, Any], parent_sentinel: int | None) -> NoReturn:
    """Become what the job says, run it and exit. The standard streams are kept."""
    os._exit(perform(job, parent_sentinel))


def perform(job: dict[str, Any], parent_sentinel: int | None) -> int:
    """Become what the job says and run it; return the exit code."""
    if "parent_process" in job:
        parent_sentinel = job["parent_process"]
        from polyproc._platform.windows_signals import listen  # type: ignore[attr-defined]  # seen on Windows alone

        listen(job["signals"], parent_sentinel if job["ends_with_parent"] else None)
    elif "end" in job:
        from polyproc._process.ends import ends

        parent_sentinel = ends.hold(job["end"], job["parent"], job.get("lifeline") == job["parent"])
    if "lifeline" in job:
        from polyproc._process.child_life import hang_on

        hang_on(job["lifeline"])
    box = Box.of(job["box"])
    recorder.box = box
    try:
        if "is_unwatched" in job:
            box.wait_until_watched()
        if "hears_interrupt" in job:
            _signal.pthread_sigmask(_signal.SIG_UNBLOCK, (_signal.SIGINT,))
        process = _make_process(job)
    except KeyboardInterrupt as error:
        child_life.hear_no_other()
        child_life.commit_exception(box, error, child_life.format_exception(error))
        child_life.flush_streams()
        child_life.end_by_interrupt()
    except BaseException as error:  # noqa: BLE001  (told to the parent and on the error stream, as a target's is)
        text = child_life.format_exception(error)
        child_life.commit_exception(box, error, text)
        sys.stderr.write(text)
        child_life.flush_streams()
        box.note_exit(1)
        return 1
    return child_life.live(process, parent_sentinel, box)


def _make_process(job: dict[str, Any]) -> BaseProcess[Any]:
    process_state.current._inheriting = True
    process_state.forked_in_import |= process_state.receiving
    process_state.receiving = True
    try:
        apply_preparation(job)
        payload = job["payload"]
        process: BaseProcess[Any] = load("_pickle", "loads")(payload) if job["pickled"] else unmarshal(payload)  # type: ignore[operator]
    finally:
        del process_state.current._inheriting
        process_state.receiving = False
        if _thread._count():
            from polyproc._process.receiving import note_threads

            note_threads(())
    return process
