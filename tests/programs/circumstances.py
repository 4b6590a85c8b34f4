"""Changes what a child inherits, between one start and the next, and shows what the next child has."""

import os
import resource
import signal
import sys
import tempfile

import polyproc


def has(_=0):
    """Say what this process has."""
    with open("/proc/thread-self/status") as file:
        lines = dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)
    names = ("Umask", "Uid", "Gid", "Groups", "NoNewPrivs", "Cpus_allowed")
    with open("/proc/self/oom_score_adj") as file:
        score = file.read()
    ignored = [str(number) for number in (signal.SIGINT, signal.SIGUSR1) if signal.getsignal(number) == signal.SIG_IGN]
    masked = signal.SIGUSR2 in signal.pthread_sigmask(signal.SIG_BLOCK, ())
    limits = [resource.getrlimit(limit) for limit in (resource.RLIMIT_NOFILE, resource.RLIMIT_CORE)]
    stream = os.fstat(1).st_ino
    group = os.getpgrp(), os.getsid(0)
    return [lines.get(name) for name in names], score, ignored, masked, limits, os.getpriority(0, 0), stream, group


def no_new_privileges():
    import ctypes

    ctypes.CDLL(None).prctl(38, 1, 0, 0, 0)


def another_output():
    file = tempfile.TemporaryFile()
    os.dup2(file.fileno(), 1)


CHANGES = {
    "umask": lambda: os.umask(0o77),
    "groups": lambda: os.setgroups([12345]),
    "group": lambda: os.setresgid(-1, 12345, 12345),
    "soft limit": lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (200, 300)),
    "core dumps": lambda: resource.setrlimit(resource.RLIMIT_CORE, (0, 0)),
    "processors": lambda: os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}),
    "nice": lambda: os.nice(3),
    "mask": lambda: signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2]),
    "ignored": lambda: signal.signal(signal.SIGUSR1, signal.SIG_IGN),
    "ignored interrupt": lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
    "no new privileges": no_new_privileges,
    "oom score": lambda: open("/proc/self/oom_score_adj", "w").write("500"),
    "output": another_output,
    "process group": os.setpgrp,
}


if os.environ.get("POLYPROC_PLATFORM") == "posix":  # only Linux has them, and nothing but /proc tells of them
    del CHANGES["no new privileges"], CHANGES["oom score"]


def of_a_child():
    process = context.Process(target=has)
    process.start()
    return process.result(30)


if __name__ == "__main__":
    method = sys.argv[1]
    context = polyproc.get_context("spawn", preload=["os"]) if method == "spare" else polyproc.get_context(method)
    failed = []
    for _ in range(3):
        before = of_a_child()
    assert before == has(), (before, has())
    for name, change in CHANGES.items():
        try:
            change()
        except PermissionError:
            continue
        mine = has()
        assert mine != before, name
        for _ in range(2):
            if (found := of_a_child()) != mine:
                failed.append((name, mine, found))
        before = mine
    os.dup2(2, 1)
    assert not failed, failed
