"""Threads write all the time while processes are started, which write too."""

import logging
import sys
import threading
import warnings

import polyproc

PROCESSES = 12


def say(number):
    sys.stdout.write(f"child {number}\n")
    logging.error("child %d", number)
    sys.stdout.flush()


def write(name):
    for number in range(1_000_000):
        if ended.is_set():
            return
        sys.stdout.write(f"{name} {number} {'.' * 500}\n")
        logging.error("%s %d %s", name, number, "." * 500)


if __name__ == "__main__":
    method, file = sys.argv[1:]
    warnings.simplefilter("ignore")
    logging.basicConfig(handlers=[logging.StreamHandler(), logging.FileHandler(file)], format="%(message)s")
    ended = threading.Event()
    threads = [threading.Thread(target=write, args=(f"thread{i}",)) for i in range(3)]
    for thread in threads:
        thread.start()
    context = polyproc.get_context(method)
    hanging = []
    for number in range(PROCESSES):
        process = context.Process(target=say, args=(number,))
        process.start()
        process.join(5)
        if process.is_alive():
            hanging.append(number)
            process.kill()
            process.join()
    with context.Pool(2, maxtasksperchild=1) as pool:
        asked = pool.map_async(say, range(PROCESSES, PROCESSES + 4), chunksize=1)
        try:
            asked.get(10)
        except polyproc.TimeoutError:
            hanging.append("pool")
    ended.set()
    for thread in threads:
        thread.join()
    with open(file, "a") as told:
        told.write(f"hanging {hanging}\n")
