"""A fork pool of a number of workers, which are replaced after two calls each."""

import os
import sys

import polyproc
from polyproc._platform.handles import children_of


def pid_of(number):
    return os.getpid()


if __name__ == "__main__":
    with polyproc.get_context("fork").Pool(int(sys.argv[1]), maxtasksperchild=2) as pool:
        pids = [pool.apply(pid_of, (number,)) for number in range(20)]
    print(len(pids), "calls by", len(set(pids)), "workers,", len(children_of(os.getpid())), "children left")
