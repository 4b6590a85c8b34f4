"""What is in a queue of the C core, as its memory says."""

import os
import struct

import polyproc
from support.crashes import SOON

LARGE = b"x" * 200_000
SEGMENT = 262_144


def drained(queue):
    found = []
    while not queue.empty():
        found.append(queue.get(timeout=SOON))
    return found


def fill_segment(queue):
    """Put until the next record of 60,000 bytes must go to another segment."""
    for _ in range(4):
        queue.put(b"f" * 60_000)


def segments_in_use(queue):
    """Count the segments that are marked, as the C core lays them out."""
    id, offset = queue._where()
    fd, _ = polyproc._core.hold(id)
    try:
        table = os.pread(fd, 4 * 64, offset + 512)
    finally:
        polyproc._core.detach(id)
    return sum(word >> 31 for (word,) in struct.iter_unpack("<I", table))
