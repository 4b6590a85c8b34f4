"""A global that is made below the guard, for the workers of a pool."""

import multiprocessing


def look_up(key):
    return table[key]


if __name__ == "__main__":
    table = {number: number**2 for number in range(10)}
    with multiprocessing.Pool(2) as pool:
        print("found", pool.map(look_up, [2, 3]))
