"""Many threads use the library for the first time, at once: each finds it whole."""

import threading
import traceback

import polyproc

USES = [
    lambda: polyproc.Queue().empty(),
    lambda: polyproc.Lock().acquire(),
    lambda: polyproc.Pool,
    lambda: polyproc.Pipe(),
    lambda: polyproc.Value("i", 1).value,
    lambda: polyproc.get_context("spawn").JoinableQueue(),
    lambda: polyproc.ProcessPoolExecutor,
    lambda: polyproc.Manager,
]
barrier = threading.Barrier(2 * len(USES))


def use(number):
    barrier.wait()
    try:
        USES[number % len(USES)]()
    except BaseException:
        traceback.print_exc()


threads = [threading.Thread(target=use, args=(number,)) for number in range(barrier.parties)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
