"""Makes an interpreter resemble that of macOS: what only Linux's has is not there, and nothing of ours opens a path of Linux.

Put into PYTHONPATH, with POLYPROC_PLATFORM=posix. It is no proof that all works there: it shows what is asked for by mistake.
"""

import _signal
import _socket
import errno
import fcntl
import functools
import os
import posix
import select
import signal
import socket
import stat
import sys

TAKEN = {
    (
        os,
        posix,
    ): "memfd_create pidfd_open eventfd eventfd_read eventfd_write EFD_SEMAPHORE EFD_CLOEXEC EFD_NONBLOCK pipe2 "
    "sched_getaffinity sched_setaffinity sched_getscheduler sched_getparam waitid P_PID P_PIDFD posix_fallocate "
    "posix_fadvise getresuid getresgid getrandom splice copy_file_range O_TMPFILE O_PATH setns unshare",
    (signal, _signal): "pidfd_send_signal sigtimedwait sigwaitinfo SIGRTMIN SIGRTMAX SIGPOLL SIGPWR SIGSTKFLT",
    (
        fcntl,
    ): "F_SETSIG F_GETSIG F_OFD_GETLK F_OFD_SETLK F_OFD_SETLKW F_ADD_SEALS F_GET_SEALS F_SETPIPE_SZ F_GETPIPE_SZ",
    (socket, _socket): "AF_NETLINK SO_PEERCRED SO_PASSCRED MSG_CMSG_CLOEXEC MSG_NOSIGNAL SOCK_CLOEXEC SOCK_NONBLOCK",
    (select,): "epoll POLLRDHUP",
}
for modules, names in TAKEN.items():
    for module in modules:
        for name in names.split():
            if hasattr(module, name):
                delattr(module, name)

MAX_AT_ONCE = 1 << 31  # bytes: an int holds no more


def refused():
    return OSError(errno.EINVAL, os.strerror(errno.EINVAL))


def refusing(call, is_refused):
    @functools.wraps(call)
    def checked(fd, *arguments, **options):
        if is_refused(fd, *arguments):
            raise refused()
        return call(fd, *arguments, **options)

    return checked


def is_socket(fd, *_):
    return stat.S_ISSOCK(os.fstat(fd).st_mode)


def is_shared_memory(fd, *_):
    return posix.readlink(f"/proc/self/fd/{fd}").startswith("/dev/shm/")


def is_too_much(fd, buffers, *_):
    pieces = buffers if isinstance(buffers, list | tuple) else [buffers]
    return sum(memoryview(piece).nbytes for piece in pieces) >= MAX_AT_ONCE


REFUSALS = {"fchmod": is_socket, "fstatvfs": is_shared_memory} | dict.fromkeys(
    ("readv", "writev", "pwrite"), is_too_much
)
for name, is_refused in REFUSALS.items():
    for module in (os, posix):
        setattr(module, name, refusing(getattr(module, name), is_refused))

PATHS = ("/proc", "/dev/shm", "/sys/")


def refuse(event, arguments):
    if event in ("open", "os.listdir", "os.scandir"):
        path = arguments[0]
        path = os.fsdecode(path) if isinstance(path, bytes) else path
        if isinstance(path, str) and path.startswith(PATHS):
            caller = sys._getframe(1).f_code.co_filename
            if "/polyproc/_" in caller:
                raise RuntimeError(f"{caller} looks at {path}, which is Linux's alone")
    elif event == "socket.__new__" and arguments[1] == socket.AF_UNIX and arguments[2] == socket.SOCK_SEQPACKET:
        raise OSError(errno.EPROTONOSUPPORT, os.strerror(errno.EPROTONOSUPPORT))


sys.addaudithook(refuse)
