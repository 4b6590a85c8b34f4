"""Programs that close all descriptors and go on, as daemons do."""

import os
import threading

import pytest

import polyproc
from conftest import plain_fork, run_program
from polyproc._base.native import native
from polyproc._memory.segment import SharedMemory
from polyproc._platform import posix
from polyproc._platform.posix import LongLived, OwnFile
from polyproc.reduction import DupFd, recv_handle, send_handle


def can_open_what_is_mapped():
    """Say whether this user may: it takes a capability."""
    name = os.listdir("/proc/self/map_files")[0]
    try:
        with open(f"/proc/self/map_files/{name}", "rb"):
            return True
    except PermissionError:
        return False


@pytest.mark.skipif(not native, reason="the portable objects are descriptors")
def test_a_program_that_closes_all_descriptors_goes_on_and_its_own_files_are_left_alone(method):
    done = run_program("closes_all.py", method, "sends" if can_open_what_is_mapped() else "new")
    assert done.stdout == "right\n", done.stderr


def test_a_descriptor_that_was_closed_and_whose_number_is_anothers_is_not_closed():
    kept = LongLived(os.open(os.devnull, os.O_RDONLY))
    assert kept.is_there()
    number = kept.fd
    os.close(number)
    assert not kept.is_there()
    read_fd, write_fd = os.pipe()
    os.dup2(read_fd, number)
    kept.close()
    assert (kept.fd, os.fstat(number).st_ino) == (-1, os.fstat(read_fd).st_ino)
    for fd in {read_fd, write_fd, number}:
        os.close(fd)


def test_the_tracker_removes_nothing_of_a_program_that_has_closed_all_descriptors():
    segment = SharedMemory(create=True, size=10)
    pid = plain_fork()
    if pid == 0:
        os.closerange(3, 1000)
        found = SharedMemory(segment.name)
        os._exit(found.size < 10)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    segment.close()
    segment.unlink()
    SharedMemory._tracker._stop()


def test_descriptors_that_are_received_are_close_on_exec():
    read_fd, write_fd = os.pipe()
    ours, theirs = polyproc.Pipe()
    sender = threading.Thread(target=send_handle, args=(ours, read_fd, os.getpid()))
    sender.start()
    received = [recv_handle(theirs), DupFd(write_fd).detach()]
    sender.join(30)
    assert not any(os.get_inheritable(fd) for fd in received)
    for fd in (read_fd, write_fd, *received):
        os.close(fd)
    ours.close()
    theirs.close()


def test_a_file_that_is_kept_to_the_very_end_says_nothing(monkeypatch):
    """The interpreter has taken the module apart by then: its names are None."""
    file = OwnFile(os.dup(0))
    with monkeypatch.context() as patch:
        patch.setattr(posix, "_what_is", None)
        file.__del__()
    file.close()
