"""A lock that is made as the program is imported, and that all children are to share."""

import multiprocessing

lock = multiprocessing.Lock()


def work():
    print("free" if lock.acquire(timeout=0.2) else "held by another")


if __name__ == "__main__":
    with lock:
        child = multiprocessing.Process(target=work)
        child.start()
        child.join()
