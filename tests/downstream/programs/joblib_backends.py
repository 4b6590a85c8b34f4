"""joblib: both of its process backends, shared arrays, errors, a generator of results, nested calls."""

import numpy as np
from joblib import Parallel, delayed, parallel_config


def square(x):
    return x * x


def fail(x):
    raise ValueError(f"no {x}")


def total(array):
    return float(array.sum()), type(array).__name__


def nested(n):
    return Parallel(n_jobs=2)(delayed(square)(i) for i in range(n))


if __name__ == "__main__":
    big = np.arange(400_000, dtype=np.float64)
    for backend in ("loky", "multiprocessing", "threading"):
        with parallel_config(backend=backend, n_jobs=2):
            print(backend, Parallel()(delayed(square)(i) for i in range(20)))
            print(sum(Parallel(batch_size=1, pre_dispatch=4)(delayed(square)(i) for i in range(200))))
            print(Parallel(max_nbytes=1000)(delayed(total)(big[: 200_000 + i]) for i in range(3)))
            print(Parallel()(delayed(nested)(n) for n in range(4)))
            try:
                Parallel()(delayed(fail)(i) for i in (7, 7))
            except ValueError as error:
                print("error", error)
            if backend != "multiprocessing":
                print(sorted(Parallel(return_as="generator_unordered")(delayed(square)(i) for i in range(9))))
                print(list(Parallel(return_as="generator")(delayed(square)(i) for i in range(9))))
                print(Parallel()(delayed(lambda x: -x)(i) for i in range(3)))
