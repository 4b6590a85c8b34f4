"""Logs in children, of which some import `logging` late. Arguments: "early" or "late", "std" or "alone"."""

import sys

import polyproc

EARLY, STD = sys.argv[1] == "early", sys.argv[2] == "std"

if EARLY:
    import logging  # noqa: F401  (so that it is there before polyproc starts anything)
if STD:
    import multiprocessing  # noqa: F401  (as a program has that uses both)


def log(line):
    import logging

    record = logging.LogRecord("a", 1, "b", 2, line, (), None)
    told = [record.processName, logging.Formatter("%(processName)s").format(record)]
    copied = logging.makeLogRecord({"processName": "MainProcess"})
    assert bool(sys.modules.get("multiprocessing")) == STD
    return (*told, copied.processName)


def log_with_the_standard_library():
    import multiprocessing

    queue = multiprocessing.get_context("fork").SimpleQueue()
    child = multiprocessing.get_context("fork").Process(target=lambda: queue.put(log("x")[0]), name="theirs")
    child.start()
    child.join()
    return queue.get()


if __name__ == "__main__":
    for method in ("fork", "spawn", "forkserver"):
        ctx = polyproc.get_context(method)
        process = ctx.Process(target=log, args=("x",), name="Ann")
        process.start()
        assert process.result() == ("Ann", "Ann", "MainProcess"), process.result()
        with ctx.Pool(1) as pool:
            name, same, _ = pool.apply(log, ("x",))
            assert name == same and "PoolWorker-" in name, (name, same)
        if STD:
            process = ctx.Process(target=log_with_the_standard_library, name="Bob")
            process.start()
            assert process.result() == "theirs", process.result()
    if not STD:
        assert log("x")[0] == "MainProcess"
        polyproc.current_process().name = "Carl"
        assert log("x")[0] == "Carl"
        assert "multiprocessing" not in sys.modules
        sys.modules["multiprocessing"] = None
        assert log("x")[0] == "MainProcess"
    print("ok")
