"""Calls breakpoint() in two children at once, and in a pool's worker. Arguments: a start method, what they do."""

import sys

import polyproc


def work(number):
    there = number * 10
    breakpoint(header="here")
    print("printed", there)
    return there + 1


def ask(number):
    breakpoint()
    return number


if __name__ == "__main__":
    ctx = polyproc.get_context(sys.argv[1])
    function = {"work": work, "ask": ask}[sys.argv[2]]
    processes = [ctx.Process(target=function, args=(number,)) for number in (1, 2)]
    for process in processes:
        process.start()
    print("results", [process.result() for process in processes])
    with ctx.Pool(1) as pool:
        print("of a pool", pool.map(function, [7]))
