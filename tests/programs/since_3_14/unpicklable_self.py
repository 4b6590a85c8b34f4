"""A method of an object that cannot be pickled: it has a lock of threads."""

import multiprocessing
import threading


class Counter:
    def __init__(self):
        self.lock = threading.Lock()

    def work(self):
        with self.lock:
            print("counted")


if __name__ == "__main__":
    child = multiprocessing.Process(target=Counter().work)
    child.start()
    child.join()
