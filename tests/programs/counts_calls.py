"""Prints how many calls of Python's own it takes to submit a call: to a pool, and to an executor."""

import sys
import time

import polyproc


def double(number):
    return 2 * number


def count(act, *args, **kwargs):
    calls = []

    def note(frame, event, argument):
        if event == "call":
            calls.append(frame.f_code.co_name)

    sys.setprofile(note)
    try:
        result = act(*args, **kwargs)
    finally:
        sys.setprofile(None)
    return len(calls), result


if __name__ == "__main__":
    ctx = polyproc.get_context(sys.argv[1])
    size = int(sys.argv[2])
    with ctx.Pool(size) as pool, polyproc.ProcessPoolExecutor(size, ctx) as executor:
        pool.apply(double, (1,))
        for future in [executor.submit(time.sleep, 0.1) for _ in range(size)]:  # its workers start as there are calls
            future.result(30)
        for function in (double, abs):
            for _ in range(3):
                applied, result = count(pool.apply_async, function, (1,))
                result.get(30)
                called, result = count(pool.apply_async, function, (1,), callback=id, error_callback=id)
                result.get(30)
                submitted, future = count(executor.submit, function, 1)
                future.result(30)
            print(applied, called, submitted)
        # Many at once, beside each other's answers.
        applied = [count(pool.apply_async, double, (1,)) for _ in range(200)]
        submitted = [count(executor.submit, double, 1) for _ in range(200)]
        print(sorted(calls for calls, _ in applied)[-20], sorted(calls for calls, _ in submitted)[-20])
        assert [result.get(30) for _, result in applied] == [2] * 200
        assert [future.result(30) for _, future in submitted] == [2] * 200
