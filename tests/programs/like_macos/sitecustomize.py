"""Makes an interpreter resemble that of macOS: what only Linux's has is not there, and nothing of ours opens a path of Linux.

Put into PYTHONPATH, with POLYPROC_PLATFORM=posix. It is no proof that all works there: it shows what is asked for by mistake.
"""

import _signal
import _socket
import errno
import os
import posix
import select
import signal
import socket
import sys

TAKEN = {
    (
        os,
        posix,
    ): "memfd_create pidfd_open eventfd eventfd_read eventfd_write EFD_SEMAPHORE EFD_CLOEXEC EFD_NONBLOCK pipe2 "
    "sched_getaffinity sched_setaffinity sched_getscheduler sched_getparam waitid P_PID P_PIDFD posix_fallocate "
    "posix_fadvise getresuid getresgid getrandom splice copy_file_range O_TMPFILE O_PATH setns unshare",
    (signal, _signal): "pidfd_send_signal sigtimedwait sigwaitinfo",
    (socket, _socket): "AF_NETLINK SO_PEERCRED SO_PASSCRED MSG_CMSG_CLOEXEC MSG_NOSIGNAL SOCK_CLOEXEC SOCK_NONBLOCK",
    (select,): "epoll",
}
for modules, names in TAKEN.items():
    for module in modules:
        for name in names.split():
            if hasattr(module, name):
                delattr(module, name)

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
