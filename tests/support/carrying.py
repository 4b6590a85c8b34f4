"""What the processes of the tests of queues and connections run."""

import os
import time
import zlib


def put_numbered(queue, who, times, size=0):
    for number in range(times):
        queue.put((who, number, b"x" * size))


def put_all(queue, items):
    for item in items:
        queue.put(item)


def put_then_sleep(queue, item, told):
    queue.put(item)
    told.set()
    time.sleep(60)


def get_numbered(queue, results, times):
    last = {}
    for _ in range(times):
        who, number, _ = queue.get()
        if number <= last.get(who, -1):
            results.put(f"{who}: {number} after {last[who]}")
            return
        last[who] = number
    results.put("in order")


def get_one(queue, results):
    results.put(queue.get())


def get_and_sleep(queue, told):
    told.keep = queue.get()
    told.set()
    time.sleep(60)


def get_until_end(queue, results):
    results.put(sorted(queue))


def get_reports(queue, results):
    try:
        queue.get()
    except Exception as error:
        results.put(type(error).__name__)


def put_reports(queue, results):
    try:
        queue.put(None)
    except Exception as error:
        results.put(type(error).__name__)


def work(queue, times):
    for _ in range(times):
        queue.get()
        queue.task_done()


def echo(queue, results):
    while (item := queue.get()) is not None:
        results.put(item)


def use_sent_queue(connection):
    queue = connection.recv()
    queue.put(os.getpid())
    connection.recv()


def change_array(queue, results):
    array = queue.get()
    array += 1
    results.put((int(array.sum()), array.flags.writeable))


def produce(queue, who, epoch, started, finished, seed):
    import random

    chance = random.Random(seed)
    number = 0
    while True:
        size = chance.choice((0, 10, 100, 1000, 20_000, 60_000, 90_000, 300_000))
        payload = chance.randbytes(16) * (size // 16 + 1)
        item = (who, epoch, number, zlib.crc32(payload), payload)
        started[who] = number
        queue.put(item if chance.random() < 0.7 else [item])
        finished[who] = number
        number += 1


def consume(queue, log):
    import struct

    fd = os.open(log, os.O_WRONLY | os.O_APPEND)
    while True:
        item = queue.get()
        who, epoch, number, check, payload = item[0] if isinstance(item, list) else item
        ok = zlib.crc32(payload) == check
        os.write(fd, struct.pack("<IIII", who, epoch, number, ok))
