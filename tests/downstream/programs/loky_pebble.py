"""Other pools that are built of multiprocessing's parts: loky's reusable executor, pebble's pool with timeouts."""

import os
import sys
import time

import pebble
from loky import get_reusable_executor
from loky.process_executor import TerminatedWorkerError
from pebble import ProcessExpired


def square(x):
    return x * x


def exit_soon(code):
    """Pebble takes a worker that ends before its pool has heard what it runs for the end of all."""
    time.sleep(0.3)
    os._exit(code)


def main(method):
    import multiprocessing

    executor = get_reusable_executor(2, timeout=30, context="loky")
    print(list(executor.map(square, range(12))), executor.submit(lambda: 3).result())
    try:
        executor.submit(os._exit, 4).result(30)
    except TerminatedWorkerError as error:
        print(type(error).__name__)
    print(get_reusable_executor(2).submit(square, 3).result())
    get_reusable_executor().shutdown(kill_workers=True)

    with pebble.ProcessPool(2, max_tasks=3, context=multiprocessing.get_context(method)) as pool:
        print(list(pool.map(square, range(12)).result()))
        late = pool.schedule(time.sleep, args=[60], timeout=0.3)
        print(type(late.exception()).__name__)
        try:
            pool.schedule(exit_soon, args=[5]).result()
        except ProcessExpired as error:
            print(type(error).__name__, error.exitcode)
        print(pool.schedule(square, args=[9]).result())


if __name__ == "__main__":
    main(sys.argv[1])
