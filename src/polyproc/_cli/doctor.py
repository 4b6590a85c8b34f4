"""`python -m polyproc doctor`: what works here, tried and not guessed; what does not, and what to do about it."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from functools import partial

from polyproc._base.errors import ProcessError
from polyproc._base.native import how_to_have_it, native
from polyproc._base.typing import Any, Callable, Iterable, Iterator, NamedTuple
from polyproc._context import BaseContext, default_context
from polyproc._memory.block import allocate
from polyproc._memory.segment import SharedMemory
from polyproc._pickling.pickler import dumps
from polyproc._platform.circumstances import affinity, usable_processors
from polyproc._platform.handles import has_pidfds, open_pidfd, pidfd
from polyproc._platform.posix import IS_WINDOWS, anonymous_file, close_quietly, memfd

_FEW_DESCRIPTORS = 1024
_SOME = 1 << 20  # bytes of memory that are tried

# What is done without a system call that is refused: by an old kernel, or by a container's filter. A caller tries the
# call, notes a refusal once, and takes another way.
_INSTEAD = {
    "memfd_create": "memory is in files without a name, in /dev/shm or the temporary directory: these must have room",
    "pidfd_open": "pipes tell of the ends of processes; a process that C code forks in a child can hide its end",
    "pidfd_send_signal": "signals are sent to numbers of processes",
    "sched_getaffinity": "pools have as many workers as there are processors, whether or not they may be used",
    "fallocate": "memory is reserved by writing to it",
    "futex_waitv": "that a lock's owner has died is seen after 40 ms, and not at once",
    "get_robust_list": "the kernel does not tell of the death of a lock's owner: /proc is looked at, every 40 ms",
    "prctl": "children of the fork server are the server's own, which tells how they end",
    "linkat": "a named segment has its name before it is whole",
    "eventfd2": "a semaphore of many tokens is a number in a file, which costs more",
    "getrandom": "/dev/urandom is read",
    "preadv2": "a receiver sleeps at once, and does not look for a while first",
}


class Finding(NamedTuple):
    """A finding about one thing; `advice` is there if it is not well."""

    what: str
    found: str
    advice: str = ""


def main() -> int:
    """Print the findings; return 0 if all is well, 1 if something is missing or little."""
    return show(findings())


def show(found: Iterable[Finding]) -> int:
    """Print findings as they come; return 0 if all is well, 1 if something is missing or little."""
    is_well = True
    for finding in found:
        is_well = is_well and not finding.advice
        print(f"{'!' if finding.advice else ' '} {finding.what:<22} {finding.found}", flush=True)  # noqa: T201
        if finding.advice:
            print(f"  {'':<22} {finding.advice}", flush=True)  # noqa: T201
    print("all is well" if is_well else "what is marked with ! can be better")  # noqa: T201
    return 0 if is_well else 1


def findings() -> Iterator[Finding]:
    """Yield all findings. Starts some processes; leaves nothing behind."""
    yield Finding("Python", f"{sys.implementation.name} {sys.version.split()[0]}, {sys.executable}")
    yield Finding("system", _system())
    usable, all_there = usable_processors(), os.cpu_count()
    yield Finding("processors", f"{usable}" if usable == all_there else f"{usable} of {all_there} may be used")
    if native or IS_WINDOWS:
        yield Finding("C core", "on" if native else "none for Windows: all is in Python")
    else:
        yield Finding("C core", _in_lines(f"off: {native.reason}"), _in_lines(_without_core()))
    kind = "handle" if IS_WINDOWS else "pidfd" if has_pidfds() else "pipe"
    yield _tried("process handles", kind, has_pidfds, "children cannot be watched")
    yield _tried("shared memory", "has no name", lambda: allocate(_SOME), "queues, locks and values cannot be made")
    advice = "SharedMemory cannot be made: is /dev/shm there, and has it room?"
    yield _tried("named shared memory", _named_room(), _make_segment, advice)
    yield _descriptors()
    yield _tried(
        "lambdas, closures",
        "travel by value",
        lambda: dumps(lambda: None),
        "only what can be imported by name can be sent: install cloudpickle",
    )
    for call, error in _refused_calls().items():
        yield Finding(call, f"refused: {os.strerror(error)}", f"instead {_INSTEAD[call]}")
    for method in default_context.get_all_start_methods():
        attempt = partial(_start, default_context.get_context(method))
        yield _tried(method, "starts", attempt, "this start method cannot be used here")


def _tried(what: str, found: str, attempt: Callable[[], object], advice: str) -> Finding:
    try:
        attempt()
    except (OSError, ProcessError, ImportError, TypeError, AttributeError) as error:
        return Finding(what, f"{type(error).__name__}: {error}", advice)
    return Finding(what, found)


def _without_core() -> str:
    without = "locks and queues are slower, and a dead owner's lock stays locked"
    if os.environ.get("POLYPROC_NATIVE") == "off":
        return f"{without}: do not set POLYPROC_NATIVE"
    return f"{without}\n{how_to_have_it()}"


def _in_lines(text: str) -> str:
    return text.replace("\n", f"\n  {'':<22} ")


def _named_room() -> str:
    try:
        return f"up to {shutil.disk_usage('/dev/shm').free >> 20} MiB"  # for segments: arrays lie elsewhere
    except OSError:
        return "there"


def _make_segment() -> None:
    segment = SharedMemory(create=True, size=_SOME)
    segment.close()
    segment.unlink()


def _descriptors() -> Finding:
    if IS_WINDOWS:
        return Finding("open files", "as many handles as there is memory for")
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    found = "no limit" if soft == resource.RLIM_INFINITY else f"up to {soft}"
    if soft == resource.RLIM_INFINITY or soft >= _FEW_DESCRIPTORS:
        return Finding("open files", found)
    more = "no limit" if hard == resource.RLIM_INFINITY else f"{hard}"
    return Finding("open files", found, f"each process that is started takes some: `ulimit -n`, up to {more}")


def _system() -> str:
    """Return the system's name, its version and the kind of processor."""
    if IS_WINDOWS:
        version = sys.getwindowsversion()  # type: ignore[attr-defined]
        return (
            f"Windows {version.major}.{version.minor}.{version.build}, {os.environ.get('PROCESSOR_ARCHITECTURE', '')}"
        )
    found = os.uname()
    return f"{found.sysname} {found.release}, {found.machine}"


def _refused_calls() -> dict[str, int]:
    """Try system calls, without effect; return those that are refused, and with which errno."""
    if IS_WINDOWS:  # which has none of them, and others that nobody refuses
        return {}
    refused = {} if native.core is None else dict(native.core.refused_calls())
    close_quietly(anonymous_file("polyproc-probe"))
    if has_pidfds():
        fd = open_pidfd(os.getpid())
        try:
            signal.pidfd_send_signal(fd, 0)
        except OSError as error:
            refused["pidfd_send_signal"] = error.errno or 0
        finally:
            close_quietly(fd)
    for capability in (memfd, pidfd):
        if capability.refused_by:
            refused[capability.call] = capability.refused_by
    if hasattr(os, "sched_getaffinity") and not affinity():
        refused["sched_getaffinity"] = 1
    return refused


def _answer() -> str:
    return "here"


def _start(context: BaseContext) -> None:
    process = context.Process(target=_answer)
    process.start()
    if process.result(30) != "here":
        raise ProcessError("the child returned something else than it was to return")


# `python -m polyproc doctor --engine NAME`: which nodes an engine has, what is there, and how long a process takes.

_IN_TIME = 60.0


def main_of_engine(name: str, options: dict[str, Any]) -> int:
    """Print what is found; return 0 if all is well."""
    return show(findings_of_engine(name, options))


def findings_of_engine(name: str, options: dict[str, Any]) -> Iterator[Finding]:
    """Yield what is found: the nodes, one by one, with a process on each. Leaves nothing behind."""
    try:
        context: Any = default_context.get_context(name, **options)
    except (ProcessError, ValueError, TypeError) as error:
        yield Finding(name, f"{type(error).__name__}: {error}", "see docs/cluster.md")
        return
    with context:
        try:
            began = time.monotonic()
            nodes = context._nodes.all()
        except (ProcessError, OSError) as error:
            yield Finding(name, f"{error}", "is this library there, by the same Python, and can it reach this host?")
            return
        yield Finding(name, f"{len(nodes)} nodes, after {time.monotonic() - began:.2f} s")
        for node in nodes:
            facts = node.facts
            yield Finding(node.name, f"{facts['host']}, Python {facts['python']}, {facts['cpus']} processors")
        for _ in nodes:
            yield _process(context)


def _process(context: Any) -> Finding:
    process = context.Process(target=_nothing)
    began = time.monotonic()
    try:
        process.start()
        process.result(_IN_TIME)
    except (ProcessError, OSError) as error:
        return Finding("a process", f"{type(error).__name__}: {error}", "processes cannot be started there")
    return Finding("a process", f"on {process._popen.host}, in {(time.monotonic() - began) * 1e3:.1f} ms")


def _nothing() -> None:
    """Do nothing, on a node."""
