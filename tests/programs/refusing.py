"""refusing.py ERRNO CALL[,CALL ...] COMMAND ...: run a command for which the kernel refuses system calls, as a container's filter does.

The filter (seccomp(2)) holds for the command and all that it starts. A word `CALL` is a name of NUMBERS, or a number.
"""

import ctypes
import os
import struct
import sys

# By x86-64 and AArch64.
NUMBERS = {
    "clone3": (435, 435),
    "close_range": (436, 436),
    "eventfd2": (290, 19),
    "fallocate": (285, 47),
    "futex_waitv": (449, 449),
    "get_robust_list": (274, 100),
    "getrandom": (318, 278),
    "linkat": (265, 37),
    "madvise": (28, 233),
    "memfd_create": (319, 279),
    "pidfd_open": (434, 434),
    "pidfd_send_signal": (424, 424),
    "prctl": (157, 167),
    "preadv2": (327, 286),
    "prlimit64": (302, 261),
    "sched_getaffinity": (204, 123),
    "set_robust_list": (273, 99),
    "waitid": (247, 95),
}
COLUMN = {"x86_64": 0, "aarch64": 1}

LOAD, JUMP_IF_EQUAL, ANSWER = 0x20, 0x15, 0x06  # <linux/bpf_common.h>
ALLOW, REFUSE = 0x7FFF0000, 0x00050000  # <linux/seccomp.h>
NO_NEW_PRIVILEGES, SET_FILTER, MODE_FILTER = 38, 22, 2  # <linux/prctl.h>


def number(word):
    """Return the number of a call here."""
    return int(word) if word.isdecimal() else NUMBERS[word][COLUMN[os.uname().machine]]


def program(numbers, error):
    """Return the filter's instructions: code, how far to jump if it is so and if not, operand."""
    lines = [(LOAD, 0, 0, 0)]
    for left, refused in zip(range(len(numbers), 0, -1), numbers, strict=True):
        lines.append((JUMP_IF_EQUAL, left, 0, refused))
    return [*lines, (ANSWER, 0, 0, ALLOW), (ANSWER, 0, 0, REFUSE | error)]


def refuse(numbers, error):
    """Have the kernel refuse these calls to this process, from now on and for good."""
    lines = program(numbers, error)
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *line) for line in lines))
    described = ctypes.create_string_buffer(struct.pack("@HP", len(lines), ctypes.addressof(code)))
    libc = ctypes.CDLL(None, use_errno=True)
    for arguments in ((NO_NEW_PRIVILEGES, 1, 0, 0, 0), (SET_FILTER, MODE_FILTER, ctypes.byref(described), 0, 0)):
        if libc.prctl(*arguments) != 0:
            raise OSError(ctypes.get_errno(), "no filter can be set here")


if __name__ == "__main__":
    refuse([number(word) for word in sys.argv[2].split(",")], int(sys.argv[1]))
    os.execvp(sys.argv[3], sys.argv[3:])
