"""Makes a segment and is killed at a crash point; argv: the point, and the name if one is to be given."""

import sys

import polyproc._core as core
from polyproc.shared_memory import SharedMemory

if __name__ == "__main__":
    point, *names = sys.argv[1:]
    first = SharedMemory(create=True, size=10)  # starts the tracker
    first.close()
    first.unlink()
    core.crash_at(point)
    SharedMemory(*names, create=True, size=10)
