"""A thread starts a daemon and ends."""

import sys
import threading
import time
import warnings

import polyproc


def sleep():
    time.sleep(100)


def start():
    process = polyproc.get_context(sys.argv[1]).Process(target=sleep, daemon=True)
    warnings.simplefilter("ignore")
    process.start()
    started.append(process)


if __name__ == "__main__":
    started = []
    thread = threading.Thread(target=start)
    thread.start()
    thread.join()
    time.sleep(0.3)
    assert started[0].is_alive()
    print(started[0].pid, flush=True)
    time.sleep(100)
