"""Uses a bit of everything; says what came of it in a file, since its streams may be closed."""

import os
import sys

import polyproc
from polyproc import shared_memory


def double(number):
    return 2 * number


def answer(connection, queue):
    connection.send(queue.get())


def use(context):
    queue = context.Queue()
    ours, theirs = context.Pipe()
    process = context.Process(target=answer, args=(theirs, queue))
    process.start()
    queue.put("heard")
    heard = ours.recv()
    process.join()
    queue.close()
    queue.join_thread()  # of a queue over a pipe: a fork would warn of it
    with context.Pool(2) as pool:
        doubled = pool.map(double, range(3))
    with context.Manager() as manager:
        kept = manager.dict(key=heard)["key"]
    return process.exitcode, doubled, kept


if __name__ == "__main__":
    with open(sys.argv[1], "w", encoding="utf-8") as file:
        for method in ("fork", "spawn", "forkserver"):
            print(method, *use(polyproc.get_context(method)), file=file, flush=True)
        segment = shared_memory.SharedMemory(create=True, size=10)
        segment.close()
        segment.unlink()
        print(os.path.basename(sys.argv[0]), file=file)
