"""A Ctrl-C that another thread hears while the main one forks: who runs behind each fork is not broken off by it."""

import os
import signal
import sys
import threading
import time

import polyproc
from polyproc._platform.handles import HeldBack

ctx = polyproc.get_context("fork")


class BehindForks:
    """What a program, or a library, has registered: logging frees its lock there."""

    def __init__(self):
        self.heard_by = None
        self.is_over = False

    def __call__(self):
        if self.heard_by is not None:
            signal.pthread_kill(self.heard_by.ident, signal.SIGINT)
            deadline = time.monotonic() + 0.1
            while time.monotonic() < deadline:
                pass
            self.is_over = True


def ends_by_ctrl_c():
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(60)


def main():
    signal.signal(signal.SIGINT, signal.default_int_handler)
    behind_forks = BehindForks()
    os.register_at_fork(after_in_parent=behind_forks)
    over = threading.Event()
    other = threading.Thread(target=over.wait)
    other.start()
    try:
        behind_forks.heard_by = other
        process = ctx.Process(target=time.sleep, args=(60,))
        try:
            process.start()
            sys.exit("no Ctrl-C came through")
        except KeyboardInterrupt:
            behind_forks.heard_by = None
        assert behind_forks.is_over, "broken off"
        assert process.pid is None and not polyproc.active_children(), "a child is left"

        # The child of a thread that forks while the main one holds Ctrl-C back does not hold it back.
        process = ctx.Process(target=ends_by_ctrl_c)
        with HeldBack():
            starter = threading.Thread(target=process.start)
            starter.start()
            starter.join()
            process.join(20)
        assert process.exitcode == -signal.SIGINT, process.exitcode
    finally:
        over.set()
    print("done")


if __name__ == "__main__":
    main()
