"""A fork pool whose workers are replaced after two calls each."""

import os

import polyproc
from polyproc._start.stopping import children_of


def pid_of(number):
    return os.getpid()


if __name__ == "__main__":
    with polyproc.get_context("fork").Pool(1, maxtasksperchild=2) as pool:
        pids = [pool.apply(pid_of, (number,)) for number in range(20)]
    print(len(pids), "calls by", len(set(pids)), "workers,", len(children_of(os.getpid())), "children left")
