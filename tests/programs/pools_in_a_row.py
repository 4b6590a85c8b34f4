"""Makes pools one after the other, changes itself between them, and prints what their workers see."""

import importlib
import json
import os
import resource
import sys
import tempfile
import time

LIBRARY, METHOD = sys.argv[1:3]
value = "as imported"
born = os.getpid()
os.write(1, b"main is imported\n")  # at once: several processes say it at the same time


def look(_):
    time.sleep(0.05)  # each worker gets one
    import random

    later = sys.modules.get("comes_later")
    umask = os.umask(0)
    os.umask(umask)
    return (
        os.getpid(),
        {
            "value": value,
            "main is its own": born == os.getpid(),
            "environment": os.environ.get("CHANGES"),
            "directory": os.getcwd(),
            "path": sys.path[-1],
            "arguments": sys.argv,
            "limit": resource.getrlimit(resource.RLIMIT_NOFILE),
            "umask": umask,
            "later module was there": later is not None,
            "later module": getattr(importlib.import_module("comes_later"), "text", None)
            if sys.path[-1] == folder()
            else "",
            "method": importlib.import_module(LIBRARY).get_start_method(),
            "input": os.fstat(0).st_rdev == os.stat(os.devnull).st_rdev,
            "group": os.getpgrp() == os.getpgid(os.getppid()),
        },
        random.random(),
    )


def folder():
    return os.environ.get("FOLDER", "")


def show(context, size):
    with context.Pool(size) as pool:
        found = pool.map(look, range(2 * size), 1)
        pool.close()
        pool.join()  # so that each worker has imported main
    seen = {pid: (what, number) for pid, what, number in reversed(found)}  # the first of each
    names = [json.dumps(what, sort_keys=True) for what, _ in seen.values()]
    print("workers", names[0] if len(set(names)) == 1 else names, flush=True)
    return [number for _, number in seen.values()]


def change_environment(path):
    os.environ["CHANGES"] = "1"


def change_directory(path):
    os.chdir(path)


def change_path(path):
    os.environ["FOLDER"] = path
    with open(os.path.join(path, "comes_later.py"), "w") as file:
        file.write("text = 'first'\n")
    sys.path.append(path)
    importlib.import_module("comes_later")


def change_module(path):
    with open(os.path.join(path, "comes_later.py"), "w") as file:
        file.write("text = 'second and longer'\n")


def change_main(path):
    global value
    value = "changed"


def change_what_is_inherited(path):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 512), hard))
    os.umask(0o077)
    os.setpgrp()


CHANGES = (
    (change_environment, change_directory, lambda path: sys.argv.append("more")),
    (change_path,),
    (change_module, change_main),
    (change_what_is_inherited,),
)

if __name__ == "__main__":
    context = importlib.import_module(LIBRARY).get_context(METHOD)
    numbers = show(context, 2)
    with tempfile.TemporaryDirectory() as made:
        for number, changes in enumerate(CHANGES):
            for change in changes:
                change(os.path.realpath(made))
            numbers += show(context, 1 + number % 2)
        os.chdir("/")
    assert len(set(numbers)) == len(numbers), "their random numbers are the same"
