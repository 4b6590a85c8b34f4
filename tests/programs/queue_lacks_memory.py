"""Gets what other processes put while each allocation in turn fails. Arguments: how it gets, a seed, how many items.

Prints how often there was no memory, when each item has come once, in order.
"""

import _testcapi
import contextlib
import faulthandler
import random
import sys
import time
from queue import Empty

import polyproc
from polyproc import _core

LIMIT = 30.0  # seconds
MAX_ITEMS = 12  # allocations of a `get`, about


def name(number, way):
    """Return what an item is: some are large, and copied from shared memory only when they are opened."""
    return str(number).encode().ljust(8) * (1 if number % 4 or way == "get" else 30000)


def produce(queue, way, seed, items):
    chance = random.Random(seed)
    for number in range(items):
        if chance.random() < 0.6:  # it is waited for
            time.sleep(0.0005)
        queue.put(name(number, way))


def get(queue, how):
    """Return the next item, or its record, or the next records."""
    if how == "get":
        return queue.get(True, 0.2)
    if how == "record":
        return queue._get_record(0.2)
    return how.get_records(0.2, 3)


def main():
    way, seed, items = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    faulthandler.dump_traceback_later(LIMIT, exit=True)
    context = polyproc.get_context("fork")
    queue, waker = context.Queue(), context.Queue()
    how = _core.QueueSet(waker, (queue,)) if way == "set" else way
    if way == "set":
        queue._wakes(waker)
    process = context.Process(target=produce, args=(queue, way, seed, items))
    process.start()
    chance = random.Random(seed)
    found, lacked = [], 0
    with contextlib.suppress(Empty):  # what is loaded when it is first needed
        context.Queue().get(False)
    while len(found) < items:
        first = chance.randrange(MAX_ITEMS)
        item = error = None
        _testcapi.set_nomemory(first, first + chance.randrange(1, 3))
        try:
            item = get(queue, how)
        except (MemoryError, Empty) as raised:
            error = raised
        finally:
            _testcapi.remove_mem_hooks()
        lacked += type(error) is MemoryError
        if way == "set":
            found += [record for record in item or () if record is not None]
        elif item is not None:
            found.append(item)
    process.join()
    if way == "get":
        assert found == [name(number, way) for number in range(items)]
    else:
        starts = [data for _, _, data, slot in found if slot is None]
        assert starts == [name(number, way) for number in range(items) if number % 4], "an item is missing, or twice"
        assert [slot is None for _, _, _, slot in found] == [number % 4 != 0 for number in range(items)]
    assert queue.empty() and queue.qsize() == 0
    print(lacked)


if __name__ == "__main__":
    main()
