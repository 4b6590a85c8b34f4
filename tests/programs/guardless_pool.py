"""No guard: a pool at top level."""

import sys

import polyproc

polyproc.set_start_method(sys.argv[1])


def square(x):
    return x * x


with polyproc.Pool(2) as pool:
    print(pool.map(square, range(5)), flush=True)
    print(pool.map(lambda x: -x, range(3)), flush=True)
