"""concurrent.futures' own executor, with each context: results, errors, broken workers, initializers, shutdown."""

import multiprocessing
import os
import sys
from concurrent.futures import ProcessPoolExecutor, as_completed, wait
from concurrent.futures.process import BrokenProcessPool

STATE = []


def prepare(value):
    STATE.append(value)


def state(_):
    return STATE[-1]


def die():
    os._exit(11)


def fail(text):
    raise LookupError(text)


class Unpicklable:
    def __reduce__(self):
        raise TypeError("cannot be pickled")


def make_unpicklable():
    return Unpicklable()


def prepare_badly():
    raise RuntimeError("no")


def main(method):
    context = multiprocessing.get_context(method)
    with ProcessPoolExecutor(2, mp_context=context, initializer=prepare, initargs=(5,)) as executor:
        print(list(executor.map(pow, range(30), [2] * 30, chunksize=4)))
        print(set(executor.map(state, range(8))))
        print(sorted(future.result() for future in as_completed([executor.submit(divmod, n, 3) for n in range(9)])))
        print(type(executor.submit(fail, "text").exception()).__name__)
        print(type(executor.submit(make_unpicklable).exception()).__name__)
        print(type(executor.submit(print, Unpicklable()).exception()).__name__)
        print(executor.submit(len, b"x" * 3_000_000).result(), len(executor.submit(bytes, 3_000_000).result()))
        print(len(wait([executor.submit(abs, -1) for _ in range(300)]).done))
    with ProcessPoolExecutor(2, mp_context=context) as executor:
        try:
            print(executor.submit(die).result(30))
        except BrokenProcessPool as error:
            print("broken", type(error).__name__)
        try:
            executor.submit(abs, 1)
        except BrokenProcessPool:
            print("still broken")
    with ProcessPoolExecutor(1, mp_context=context, initializer=prepare_badly) as executor:
        print(type(executor.submit(abs, 1).exception(30)).__name__)
    executor = ProcessPoolExecutor(2, mp_context=context)
    futures = [executor.submit(abs, -n) for n in range(50)]
    executor.shutdown(wait=True, cancel_futures=True)
    print(all(future.done() for future in futures))


if __name__ == "__main__":
    main(sys.argv[1])
