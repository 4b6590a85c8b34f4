"""The core keeps frame pointers: perf, py-spy and eBPF see through it."""

import mmap
import platform
import struct
import sys
from pathlib import Path

import pytest

import polyproc

FRAME = {"x86_64": b"\x48\x89\xe5", "aarch64": b"\xfd\x03\x00\x91"}  # mov %rsp,%rbp; mov x29, sp
PT_LOAD, PT_GNU_EH_FRAME, EXECUTABLE = 1, 0x6474E550, 1
FDE_COUNT = 8  # where it stands in .eh_frame_hdr


def segments(core):
    """Yield (type, flags, offset, size) of each part of an ELF file of 64 bits."""
    first, size, count = (*struct.unpack_from("<Q", core, 32), *struct.unpack_from("<HH", core, 54))
    for place in range(first, first + size * count, size):
        kind, flags, offset, _, _, length = struct.unpack_from("<IIQQQQ", core, place)
        yield kind, flags, offset, length


@pytest.mark.skipif(platform.machine() not in FRAME or sys.platform != "linux", reason="another processor's code")
@pytest.mark.skipif(not polyproc.native, reason="the core is not used")
def test_nearly_each_function_of_the_core_makes_a_frame_that_profilers_follow():
    core_file = Path(sys.modules["polyproc._core"].__file__)
    with open(core_file, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as core:
        parts = list(segments(core))
        code = b"".join(core[at : at + n] for kind, flags, at, n in parts if kind == PT_LOAD and flags & EXECUTABLE)
        [header] = (at for kind, _, at, _ in parts if kind == PT_GNU_EH_FRAME)
        [functions] = struct.unpack_from("<I", core, header + FDE_COUNT)
    frames = code.count(FRAME[platform.machine()])
    assert functions > 100
    assert frames > functions * 2 / 3, (
        f"{frames} of {functions}: the others call nothing, where there are frame pointers"
    )
