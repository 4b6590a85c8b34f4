"""Goes through all phases of a context's life on two hosts: lease, start, run, join, pool, queue, end."""

import time

import polyproc


def work(number):
    time.sleep(0.005)
    return bytes(1 << 20) if number % 20 == 0 else number


def put(queue):
    for number in range(200):
        queue.put(number)


if __name__ == "__main__":
    print("working", flush=True)
    with polyproc.get_context("command", hosts=["one", "two"]) as context:
        queue = context.Queue()
        processes = [context.Process(target=put, args=(queue,)) for _ in range(2)]
        for process in processes:
            process.start()
        for _ in range(400):
            queue.get()
        for process in processes:
            process.join()
        with context.Pool(2) as pool:
            pool.map(work, range(100), chunksize=1)
            pool.close()
            pool.join()
