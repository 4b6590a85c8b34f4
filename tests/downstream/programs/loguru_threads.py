"""loguru, whose handlers write in a thread by way of a queue and a lock, in a program with threads and children."""

import multiprocessing
import sys
import tempfile
import threading
from pathlib import Path

from loguru import logger


def child(log, n):
    for k in range(20):
        log.info("child {} line {}", n, k)
    log.complete()


def talk(stop):
    k = 0
    while not stop.wait(0.001):
        k += 1
        logger.info("thread line {}", k)


def main(method):
    with tempfile.TemporaryDirectory() as folder:
        path, stop = Path(folder, "log"), threading.Event()
        context = multiprocessing.get_context(method)
        logger.remove()
        logger.add(path, enqueue=True, format="{message}", context=context)
        threads = [threading.Thread(target=talk, args=(stop,)) for _ in range(2)]
        for thread in threads:
            thread.start()
        processes = [context.Process(target=child, args=(logger, n)) for n in range(3)]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
        stop.set()
        for thread in threads:
            thread.join()
        logger.complete()
        logger.remove()
        lines = path.read_text().splitlines()
        print([process.exitcode for process in processes])
        for n in range(3):
            print(
                [line for line in lines if line.startswith(f"child {n} ")] == [f"child {n} line {k}" for k in range(20)]
            )
        print(all(line.startswith(("child ", "thread line ")) for line in lines))


if __name__ == "__main__":
    main(sys.argv[1])
