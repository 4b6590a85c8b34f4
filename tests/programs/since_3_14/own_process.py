"""A subclass of Process with state: a function that it was given, and a thread's lock."""

import multiprocessing


class Worker(multiprocessing.Process):
    def __init__(self, job):
        super().__init__()
        self.job = job

    def run(self):
        print("ran", self.job(3))


if __name__ == "__main__":
    worker = Worker(lambda number: number + 1)
    worker.start()
    worker.join()
