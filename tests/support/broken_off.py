"""Breaks calls off, as a Ctrl-C does, at a chosen point: to see what is left behind."""

import dis
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
        if frame.f_code.co_name == "__del__" or frame.f_locals.get("wr") is not None:
            return True
        frame = frame.f_back
    return False


def is_broken_off(act, first, again=0, where=(HOUSE,)):
    """Call `act`; raise KeyboardInterrupt at the `first` point of our modules at which a signal can be heard.

    Args:
        act: what is called.
        first: the number of the point, from one on.
        again: how many points later it is raised once more; 0 for never.
        where: what the paths of the files begin with in which it is raised.

    Return whether there are so many points. They are where the interpreter looks: when a function begins, behind a
    call, and where a loop goes round; not while it is blocked, nor where Ctrl-C is held back or SIGINT is blocked. In
    forked children nothing is raised.
    """
    pid, left, names, before, was_raised = os.getpid(), first, dis.opname, {}, []

    def on_step(frame, event, arg):
        nonlocal left
        if event == "return":
            before.pop(frame, None)
        elif event == "exception":  # a call that has raised something is no such point
            before[frame] = None
        elif event == "opcode" and os.getpid() == pid:
            last = before.get(frame, 0)
            before[frame] = frame.f_lasti
            if last is None:
                return on_step
            if last == 0 or names[frame.f_code.co_code[last]].startswith(("CALL", "JUMP_BACKWARD", "RESUME")):
                left -= left > 0 and is_heard()
                if left == 0 and is_in_finalizer(frame):
                    left = 1
                elif left == 0:
                    left = -1 if was_raised or not again else again
                    was_raised.append((frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_name))
                    raise KeyboardInterrupt
        return on_step

    def on_call(frame, event, arg):
        if not frame.f_code.co_filename.startswith(where):
            return None
        frame.f_trace_opcodes = True
        return on_step

    sys.settrace(on_call)
    try:
        act()
    except KeyboardInterrupt:
        pass
    finally:
        sys.settrace(None)
        before.clear()
    is_broken_off.points = was_raised
    return bool(was_raised)
