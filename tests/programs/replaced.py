"""Uses a bit of all in an interpreter in which somebody has replaced or removed what waits, before polyproc is there."""

import os
import select
import socket
import sys
import tempfile
import time

tempfile.gettempdir()  # whose first use writes a file


def refused(*args, **kwds):
    raise AssertionError("nobody of ours calls this")


class Cooperative(socket.socket):
    """A socket that does not block, whatever it is told, as those of gevent and eventlet."""

    def __init__(self, *args, **kwds):
        super().__init__(*args, **kwds)
        super().setblocking(False)


own_sleep = time.sleep
socket.socket = Cooperative
socket.socketpair = refused
del select.poll, select.epoll
select.select = refused
os.read = os.write = refused
time.sleep = refused

import polyproc  # noqa: E402
from polyproc import connection  # noqa: E402


def square(x):
    return x * x


def put(queue, event):
    queue.put("item")
    event.wait(60)


def main(method):
    ctx = polyproc.get_context(method)
    queue, event = ctx.Queue(), ctx.Event()
    process = ctx.Process(target=put, args=(queue, event))
    process.start()
    assert queue.get(timeout=60) == "item"
    assert connection.wait([process.sentinel], 0.01) == []
    event.set()
    process.join(60)
    assert process.exitcode == 0
    with ctx.Pool(2) as pool:
        assert pool.map(square, range(20)) == [x * x for x in range(20)]
    with ctx.Manager() as manager:
        shared = manager.list([1])
        shared.append(2)
        assert list(shared) == [1, 2]
    one, other = ctx.Pipe()
    one.send("sent")
    assert other.recv() == "sent"
    print("ok")


if __name__ == "__main__":
    main(sys.argv[1])
