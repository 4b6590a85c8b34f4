"""Code that has no file: `python -c`, a notebook, standard input."""

import multiprocessing


def work(number):
    return number * 2


if __name__ == "__main__":
    with multiprocessing.Pool(2) as pool:
        print("doubled", pool.map_async(work, [1, 2]).get(timeout=2))
