"""Prints how many calls of Python's own it takes to submit a call: to a pool, and to an executor."""

import sys

import polyproc


def double(number):
    return 2 * number


def count(act):
    calls = []

    def note(frame, event, argument):
        if event == "call":
            calls.append(frame.f_code.co_name)

    sys.setprofile(note)
    try:
        result = act()
    finally:
        sys.setprofile(None)
    return len(calls) - 1, result  # without the lambda


if __name__ == "__main__":
    ctx = polyproc.get_context(sys.argv[1])
    with ctx.Pool(1) as pool, polyproc.ProcessPoolExecutor(1, ctx) as executor:
        pool.apply(double, (1,))
        executor.submit(double, 1).result(30)
        for _ in range(3):
            applied, result = count(lambda: pool.apply_async(double, (1,)))
            result.get(30)
            submitted, future = count(lambda: executor.submit(double, 1))
            future.result(30)
    print(applied, submitted)
