"""Breaks calls off, as a Ctrl-C does, at a chosen point: to see what is left behind."""

import dis
import functools
import os
import signal
import sys

import polyproc
from polyproc._platform.handles import HeldBack

HOUSE = os.path.dirname(polyproc.__file__)


def is_heard():
    """Return whether a Ctrl-C would be raised in this thread now."""
    held_back = type(getattr(signal.getsignal(signal.SIGINT), "__self__", None)) is HeldBack
    return not held_back and signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())


def is_in_finalizer(frame):
    """Return whether somebody below has no caller: what is raised there comes through to nobody."""
    while frame is not None:
        name = frame.f_code.co_name
        if name == "__del__" or (name == "__call__" and frame.f_locals.get("wr") is not None):  # Finalize's
            return True
        frame = frame.f_back
    return False


@functools.cache
def handler_of(code, at):
    """Return where an exception goes that is raised in the instruction at an offset; None if out of the function."""
    targets = [entry.target for entry in dis._parse_exception_table(code) if entry.start <= at < entry.end]
    return targets[0] if targets else None


class Points:
    """The points of our modules at which a signal can be heard, while an act is played.

    They are where the interpreter looks: when a function begins, behind a call, and where a loop goes round; not while
    it is blocked, nor where Ctrl-C is held back or SIGINT is blocked, nor in a forked child. It looks at the end of an
    instruction, and we can raise before the next one: that is the same unless a `try` begins or ends between them.

    Args:
        raises_at: the numbers of those, from one on, at which KeyboardInterrupt is raised.
        where: what the paths of the files begin with.

    Attributes:
        passed: how many there were.
        raised: in which lines it was raised.
    """

    def __init__(self, raises_at=(), where=(HOUSE,)):
        self.passed, self.raised = 0, []
        self._raises_at, self._where = raises_at, where
        self._pid = os.getpid()
        self._before = {}  # the instruction that each frame has come from; None for one that has raised something

    def play(self, act):
        sys.settrace(self._on_call)
        try:
            act()
        except KeyboardInterrupt:
            pass
        finally:
            sys.settrace(None)
            self._before.clear()

    def _on_call(self, frame, event, arg):
        if not frame.f_code.co_filename.startswith(self._where):
            return None
        frame.f_trace_opcodes = True
        return self._on_step

    def _on_step(self, frame, event, arg):
        if event == "return":
            self._before.pop(frame, None)
        elif event == "exception":
            self._before[frame] = None
        elif event == "opcode" and os.getpid() == self._pid:
            before = self._before.get(frame, 0)
            self._before[frame] = frame.f_lasti
            name = "" if before is None else dis.opname[frame.f_code.co_code[before]]
            looks = before == 0 or name.startswith(("CALL", "JUMP_BACKWARD", "RESUME"))
            if looks and handler_of(frame.f_code, before) == handler_of(frame.f_code, frame.f_lasti) and is_heard():
                self._pass(frame)
        return self._on_step

    def _pass(self, frame):
        self.passed += 1
        if self.passed in self._raises_at:
            if is_in_finalizer(frame):
                self.passed -= 1
            else:
                self.raised.append(f"{frame.f_code.co_filename}:{frame.f_lineno}")
                raise KeyboardInterrupt


def is_broken_off(act, number, where=(HOUSE,)):
    """Call `act`; raise KeyboardInterrupt at the `number`th such point. Return whether there are so many."""
    points = Points((number,), where)
    points.play(act)
    return bool(points.raised)
