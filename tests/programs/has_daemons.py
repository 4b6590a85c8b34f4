"""Starts daemons (one busy in C code) and a non-daemon; prints the pids that must die with it, then the others."""

import sys
import time

import polyproc
from polyproc._forkserver.fork_server import forkserver


def busy(conn):
    conn.send(None)
    sum(range(10**13))


def idle(conn):
    conn.send(None)
    time.sleep(100)


if __name__ == "__main__":
    ctx = polyproc.get_context(sys.argv[1])
    reader, writer = ctx.Pipe(duplex=False)
    daemons = [ctx.Process(target=target, args=(writer,), daemon=True) for target in (busy, idle)]
    other = ctx.Process(target=idle, args=(writer,))
    for process in (*daemons, other):
        process.start()
    for _ in range(3):
        reader.recv()
    helpers = [forkserver._forkserver_pid] if sys.argv[1] == "forkserver" else []
    print(*(p.pid for p in daemons), *helpers, flush=True)
    print(other.pid, flush=True)
    time.sleep(100)
