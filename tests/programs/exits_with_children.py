"""The main program comes to its end while its children run."""

import sys
import time

import polyproc


def short():
    time.sleep(0.3)
    print("non-daemon is done", flush=True)


def endless():
    while True:
        time.sleep(1)


if __name__ == "__main__":
    ctx = polyproc.get_context(sys.argv[1])
    ctx.Process(target=short).start()
    ctx.Process(target=endless, daemon=True).start()
