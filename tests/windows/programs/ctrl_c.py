"""Presses Ctrl-C for itself and its children, and writes what came of it to a file."""

import ctypes
import sys
import threading
import time

import polyproc


def sleep(told):
    """Say so, and sleep."""
    told.send("ready")
    time.sleep(50)


if __name__ == "__main__":
    ours, theirs = polyproc.Pipe()
    child = polyproc.Process(target=sleep, args=(theirs,))
    child.start()
    assert ours.recv() == "ready"
    pool = polyproc.Pool(1)
    assert pool.apply(abs, (-1,)) == 1
    asleep = pool.apply_async(time.sleep, (50,))
    with open(sys.argv[1], "w") as told:
        threading.Timer(0.3, ctypes.WinDLL("kernel32").GenerateConsoleCtrlEvent, (0, 0)).start()
        try:
            child.join(30)
        except KeyboardInterrupt:
            print("interrupted", file=told)
        child.join(30)
        print(child.exitcode, file=told)
        pool.terminate()
        pool.join()
        print("ended", file=told)
