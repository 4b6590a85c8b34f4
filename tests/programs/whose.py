"""Tells whose multiprocessing it has, here and in a child, and its arguments."""

import multiprocessing
import sys
from multiprocessing import pool


def whose():
    from multiprocessing.connection import Connection

    return tuple(made.__module__.partition(".")[0] for made in (multiprocessing.Process.start, Connection.__reduce__))


if __name__ == "__main__":
    with multiprocessing.get_context(sys.argv[1]).Pool(1) as workers:
        print(whose(), workers.apply(whose), isinstance(workers, pool.Pool), __name__, sys.argv[1:], flush=True)
    sys.exit(7)
