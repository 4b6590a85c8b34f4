"""Prints the files of ours through which a warm `Pool.apply` goes, and back.

That of the caller: the files of the package that run Python code in the caller's process, in any of its threads, from the
call until all of them rest again. That of the worker: from when it is idle until it is idle again.
"""

import json
import os
import sys
import threading
import time
from pathlib import Path

import polyproc

PACKAGE = str(Path(polyproc.__file__).parent) + os.sep
walked: dict[str, set[str]] = {}  # the functions of each file
count = 0


def note(frame, event, argument):
    global count
    if event == "call" and frame.f_code.co_filename.startswith(PACKAGE):
        count += 1
        walked.setdefault(frame.f_code.co_filename.removeprefix(PACKAGE), set()).add(frame.f_code.co_name)


def watch_this_thread():
    sys.setprofile(note)


def forget():
    walked.clear()


def files_of_worker():
    return sorted(walked)


def double(number):
    return 2 * number


def wait_until_all_rest():
    seen = -1
    while seen != count:
        seen = count
        time.sleep(0.05)


def walk(pool, function, argument):
    pool.apply(function, (argument,))
    found = []
    for _ in range(3):  # the engine looks at its workers every two seconds: not in all of them
        wait_until_all_rest()
        forget()
        sys.setprofile(note)
        pool.apply(function, (argument,))
        sys.setprofile(None)
        wait_until_all_rest()
        found.append(sorted(walked))
    return min(found, key=len)


if __name__ == "__main__":
    threading.setprofile(note)  # the engine's thread, and the monitor's
    with polyproc.get_context(sys.argv[1]).Pool(1, watch_this_thread) as pool:
        found = {"of a module": walk(pool, os.path.basename, "a/b"), "of main": walk(pool, double, 1)}
        pool.apply(forget)
        pool.apply(double, (1,))
        found["in the worker"] = pool.apply(files_of_worker)
    print(json.dumps(found))
