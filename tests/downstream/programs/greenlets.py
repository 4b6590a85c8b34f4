"""Processes beside greenlets, where gevent or eventlet has patched the interpreter before or after the import of multiprocessing.

For each library and order a program of its own, as there is no way back. In each wait another greenlet has to run first:
with the standard library some of these wait for ever, so this is run with polyproc alone.
"""

import os
import subprocess
import sys
import warnings

CASES = (("gevent", "before"), ("eventlet", "after"), ("gevent", "after"), ("eventlet", "before"))


def patch(library):
    if library == "gevent":
        from gevent import monkey

        monkey.patch_all()
    else:
        warnings.simplefilter("ignore", DeprecationWarning)
        import eventlet

        eventlet.monkey_patch()


LIBRARY, ORDER = [*sys.argv[2:4], "", ""][:2]
if LIBRARY and ORDER == "before":
    patch(LIBRARY)

import multiprocessing  # noqa: E402
import threading  # noqa: E402
import time  # noqa: E402
from multiprocessing import connection  # noqa: E402

if LIBRARY and ORDER == "after":
    patch(LIBRARY)


def later(function, *args):
    """Call a function in a greenlet, soon."""

    def run():
        time.sleep(0.02)
        function(*args)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread


def square(number):
    return number * number


def follow(queue, event):
    queue.put("here")
    sys.exit(3 if event.wait(60) else 1)


def greet(address):
    with connection.Client(address, authkey=b"key") as client:
        client.send("hello")


def processes(ctx):
    queue, event = ctx.Queue(), ctx.Event()
    process = ctx.Process(target=follow, args=(queue, event))
    process.start()
    assert queue.get() == "here"
    later(event.set)
    process.join()
    assert process.exitcode == 3, process.exitcode
    process = ctx.Process(target=time.sleep, args=(60,))
    process.start()
    later(process.kill)
    assert connection.wait([process.sentinel]) == [process.sentinel]
    process.join()
    assert process.exitcode == -9, process.exitcode


def waits(ctx):
    queue, lock, event, (receiver, sender) = ctx.Queue(), ctx.Lock(), ctx.Event(), ctx.Pipe(False)
    later(queue.put, "item")
    assert queue.get() == "item"
    lock.acquire()
    later(lock.release)
    assert lock.acquire()
    later(event.set)
    assert event.wait()
    later(sender.send_bytes, bytes(1_000_000))
    assert len(receiver.recv_bytes()) == 1_000_000
    reader = later(receiver.recv_bytes)
    sender.send_bytes(bytes(1_000_000))
    reader.join()
    later(sender.send, "sent")
    assert connection.wait([receiver]) == [receiver]


def pools(ctx):
    ran = []
    with ctx.Pool(2) as pool:
        later(ran.append, "meanwhile")
        assert pool.map(square, range(20)) == [number * number for number in range(20)]
        pool.apply(time.sleep, (0.1,))
        assert ran
    # As a program does that patches first: what has imported concurrent.futures before waits for ever, with either.
    from concurrent.futures import ProcessPoolExecutor

    with ProcessPoolExecutor(2, mp_context=ctx) as executor:
        assert list(executor.map(square, range(5), timeout=60)) == [0, 1, 4, 9, 16]


def managers(ctx):
    with ctx.Manager() as manager:
        numbers, queue, event = manager.list([1]), manager.Queue(), manager.Event()
        numbers.append(2)
        assert list(numbers) == [1, 2]
        later(queue.put, "item")
        assert queue.get() == "item"
        later(event.set)
        assert event.wait(60)


def listeners(ctx):
    with connection.Listener(authkey=b"key") as listener:
        process = ctx.Process(target=greet, args=(listener.address,))
        process.start()
        with listener.accept() as accepted:
            assert accepted.recv() == "hello"
        process.join()


def main(method):
    ctx = multiprocessing.get_context(method)
    for part in (processes, waits, pools, managers, listeners):
        part(ctx)


if __name__ == "__main__":
    if LIBRARY:
        main(sys.argv[1])
    else:
        cases = CASES if sys.argv[1] == "fork" else CASES[:2]
        for case in cases:
            command = [sys.executable, "-m", "polyproc", "run", os.path.abspath(__file__), sys.argv[1], *case]
            subprocess.run(command, check=True, timeout=120)
            print(*case, "ok", flush=True)
