"""Makes a segment, has a child make one, and ends without removing them; argv: start method, how it ends."""

import os
import signal
import sys

import polyproc
from polyproc.shared_memory import SharedMemory


def make(connection):
    segment = SharedMemory(create=True, size=10)
    connection.send(segment.name)
    segment.close()


if __name__ == "__main__":
    method, end = sys.argv[1:]
    ctx = polyproc.get_context(method)
    ours, theirs = ctx.Pipe()
    process = ctx.Process(target=make, args=(theirs,))
    process.start()
    name = ours.recv()
    process.join()
    segment = SharedMemory(create=True, size=10)
    print(segment.name, name, flush=True)
    if end == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
