"""A function that is defined in another, and what it has from there."""

import multiprocessing


def main(word):
    def say(number):
        return word * number

    with multiprocessing.Pool(2) as pool:
        print("said", pool.map(say, [1, 2]))


if __name__ == "__main__":
    main("ha")
