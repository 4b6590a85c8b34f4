"""Has processes on three nodes write and put all the time, and says at the end whether all of it has come."""

import sys
import time

import polyproc

ITEMS, LINES = 300, 2000


def work(queue):
    for number in range(ITEMS):
        queue.put(number)
        time.sleep(0.01)
    for _ in range(LINES):
        sys.stdout.write("x" * 1023 + "\n")
    return "done"


if __name__ == "__main__":
    with polyproc.get_context("command", hosts=["one", "two", "three"], peer_timeout=1) as context:
        queues = [context.Queue() for _ in range(3)]
        processes = [context.Process(target=work, args=(queue,)) for queue in queues]
        for process in processes:
            process.start()
        print(*(process.pid for process in processes), flush=True)
        for process, queue in zip(processes, queues, strict=True):
            assert [queue.get(timeout=60) for _ in range(ITEMS)] == [*range(ITEMS)]
            assert process.result(60) == "done"
    print("all is there", flush=True)
