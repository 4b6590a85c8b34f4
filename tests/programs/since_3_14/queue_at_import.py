"""A queue that is made as the program is imported."""

import multiprocessing
import queue

results = multiprocessing.Queue()


def work():
    results.put("result")


if __name__ == "__main__":
    child = multiprocessing.Process(target=work)
    child.start()
    try:
        print("got", results.get(timeout=2))
    except queue.Empty:
        print("got nothing")
    child.join()
