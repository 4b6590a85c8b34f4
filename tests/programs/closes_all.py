"""Uses processes, closes all descriptors as daemons do, opens files of its own, and uses processes again.

METHOD sends|new: whether what was made before can be sent afterwards.
"""

import os
import sys
import tempfile
import threading

import polyproc
from polyproc.shared_memory import SharedMemory

FILES = 80


def child(queue, lock, value, array):
    with lock:
        value.value += 1
        array[0] += 1
    queue.put((os.getpid(), b"x" * 500_000))


def square(number):
    return number * number


def use(ctx, *shared):
    queue = ctx.Queue()
    process = ctx.Process(target=child, args=(queue, *shared), daemon=True)
    process.start()
    pid, _ = queue.get(timeout=30)
    process.join(30)
    assert (pid, process.exitcode) == (process.pid, 0)
    with ctx.Pool(2) as pool:
        assert pool.map(square, range(4)) == [0, 1, 4, 9]
    ours, theirs = ctx.Pipe()
    queue.put(theirs)
    queue.get(timeout=30).send("through the sharer")
    assert ours.recv() == "through the sharer"
    with ctx.Manager() as manager:
        assert list(manager.list([1])) == [1]
    segment = SharedMemory(create=True, size=10)
    segment.close()
    segment.unlink()
    return process, queue


def main():
    ctx = polyproc.get_context(sys.argv[1])
    can_send = sys.argv[1] == "fork" or sys.argv[2] == "sends"
    shared = ctx.Lock(), ctx.Value("i", 0), ctx.Array("i", 3)
    runs = ctx.Process(target=threading.Event().wait, args=(100,)) if sys.argv[1] == "fork" else None
    if runs is not None:
        runs.start()
    kept = use(ctx, *shared), ctx.Queue(), ctx.Event(), ctx.Barrier(1), ctx.Pipe
    kept[1].put(b"y" * 500_000)
    segment = SharedMemory(create=True, size=10)

    os.closerange(3, 1000)
    files = [tempfile.TemporaryFile("w+") for _ in range(FILES)]
    for number, file in enumerate(files):
        file.write(f"file {number}\n")
        file.flush()

    if can_send:
        use(ctx, *shared)
        assert (shared[1].value, shared[2][0]) == (2, 2)
    use(ctx, ctx.Lock(), ctx.Value("i", 0), ctx.Array("i", 3))
    if sys.argv[2] == "sends":
        assert kept[1].get(timeout=30) == b"y" * 500_000
    with shared[0]:
        shared[1].value += 1
    if runs is not None:
        runs.join(0.05)
        assert runs.is_alive()
        runs.kill()
        runs.join(30)
        assert runs.exitcode == -9
    assert SharedMemory(segment.name).size >= 10
    del kept, runs
    for number, file in enumerate(files):
        file.seek(0)
        assert file.read() == f"file {number}\n", number
        os.fstat(file.fileno())
    print("right", flush=True)
    segment.unlink()
    os._exit(0)


if __name__ == "__main__":
    main()
