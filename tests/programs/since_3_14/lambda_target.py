"""A lambda as the target."""

import multiprocessing

if __name__ == "__main__":
    child = multiprocessing.Process(target=lambda: print("said by a lambda"))
    child.start()
    child.join()
