"""Makes what would be left in a file system, says who is there, and waits to be killed: METHOD WHAT..."""

import os
import sys
import time

import polyproc
from polyproc.connection import Listener
from polyproc.shared_memory import SharedMemory


def main():
    ctx = polyproc.get_context(sys.argv[1])
    kept = []
    for what in sys.argv[2:]:
        if what == "listener":
            kept.append(Listener(authkey=b"key"))
        elif what == "manager":
            manager = ctx.Manager()
            kept += [manager, manager.dict(), manager.Queue()]
        elif what == "sharer":
            ends = ctx.Pipe()
            queue = ctx.Queue()
            queue.put(ends[0])
            kept += [ends, queue]
        elif what == "segments":
            segment = SharedMemory(create=True, size=10)
            kept += [segment, SharedMemory(f"is-killed-{os.getpid()}", create=True, size=10)]
        elif what == "closes":  # as daemons do
            os.closerange(3, 1000)
        elif what == "child":  # not a daemon: it outlives its parent
            process = ctx.Process(target=time.sleep, args=(100,))
            process.start()
            kept.append(process)
        elif what == "pool":
            pool = ctx.Pool(1)
            pool.apply(os.getpid)
            kept.append(pool)
    print("there", segment.name if "segments" in sys.argv else "", flush=True)
    time.sleep(100)


if __name__ == "__main__":
    main()
