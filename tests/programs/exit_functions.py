"""atexit in parent and child, and a thread that the child leaves running."""

import atexit
import sys
import threading
import time

import polyproc


def late():
    time.sleep(0.2)
    print("thread's", flush=True)


def child():
    atexit.register(print, "child's", flush=True)
    threading.Thread(target=late).start()


if __name__ == "__main__":
    atexit.register(print, "parent's", flush=True)
    process = polyproc.get_context(sys.argv[1]).Process(target=child)
    process.start()
    process.join()
