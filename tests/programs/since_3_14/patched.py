"""A function of another module that is replaced before the start, as tests do."""

import math
import multiprocessing


def work():
    print("root", math.sqrt(4))


if __name__ == "__main__":
    math.sqrt = lambda number: "replaced"
    child = multiprocessing.Process(target=work)
    child.start()
    child.join()
