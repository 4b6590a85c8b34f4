"""Says which process its child is, by what both know, and where they stand."""

import os
import sys

import polyproc


def about():
    """Return what a child knows."""
    return os.getpid(), sys.executable, sys.prefix, os.getcwd(), sys.stdout is None, sys.argv[1:]


if __name__ == "__main__":
    polyproc.freeze_support()
    child = polyproc.Process(target=about)
    child.start()
    pid, executable, prefix, folder, is_mute, arguments = child.result(40)
    assert pid == child.pid, (pid, child.pid)
    assert (executable, prefix, folder) == (sys.executable, sys.prefix, os.getcwd())
    assert is_mute == (sys.stdout is None)
    assert arguments == sys.argv[1:]
    with polyproc.Pool(1) as pool:
        assert pool.apply(about)[0] not in (pid, os.getpid())
    if len(sys.argv) > 1:
        with open(sys.argv[1], "w", encoding="utf-8") as file:
            file.write("all is well")
    else:
        print("all is well")
