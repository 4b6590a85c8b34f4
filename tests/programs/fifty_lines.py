"""A program for the standard library: a pool, a queue, a manager, shared memory, an executor. Run by `run`, and plainly."""

import multiprocessing as mp
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import shared_memory


def square(number):
    return number * number


def produce(queue, count):
    for number in range(count):
        queue.put(square(number))
    queue.put(None)


def note(table, names, lock, number):
    with lock:
        table[number] = mp.current_process().daemon
        names.append(number)


def fill(name, size):
    segment = shared_memory.SharedMemory(name)
    for place in range(size):
        segment.buf[place] = place
    segment.close()


def main(method):
    ctx = mp.get_context(method)
    with ctx.Pool(2) as pool:
        print(pool.map(square, range(10)), sum(pool.imap_unordered(square, range(100), 7)))
        print(pool.apply_async(square, (7,)).get())
    queue = ctx.Queue()
    process = ctx.Process(target=produce, args=(queue, 5))
    process.start()
    print(list(iter(queue.get, None)), process.join(), process.exitcode)
    with ctx.Manager() as manager:
        table, names, lock = manager.dict(), manager.list(), manager.Lock()
        processes = [ctx.Process(target=note, args=(table, names, lock, number)) for number in range(3)]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
        print(sorted(table.items()), sorted(names))
    segment = shared_memory.SharedMemory(create=True, size=16)
    process = ctx.Process(target=fill, args=(segment.name, 16))
    process.start()
    process.join()
    print(bytes(segment.buf[:16]).hex(), process.exitcode)
    segment.close()
    segment.unlink()
    with ProcessPoolExecutor(2, mp_context=ctx) as executor:
        print(list(executor.map(square, range(10), chunksize=3)), executor.submit(divmod, 7, 2).result())
    print(mp.__name__ in sys.modules, sys.argv[1:])


if __name__ == "__main__":
    main(sys.argv[1])
