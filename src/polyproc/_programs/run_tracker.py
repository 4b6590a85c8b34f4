"""The program of the tracker. Its text is run by `_memory/tracker.py`; it is imported only to read the data.

It loads nothing of ours and takes no site: it is there for as long as its family is.
"""

import fcntl
import posix
import select
import struct
import sys
import time

HIDDEN = ".polyproc-"  # what a family's file begins with, and its tags: in a listing they do not show
RANDOM = "psm_"  # what names at random begin with
MARK = 12  # digits
LISTED, PROC = "/dev/shm", "/proc"  # where segments are files, and processes are told of
SEGMENT, DUMMY = "shared_memory", "dummy"  # kinds; the second is the standard library's for tests
ALIVE = 1  # the byte of its family's file that a tracker has locked
BESIDE = "-alive"  # a file beside the family's that is locked instead, where no byte can be
LOCK = "hhqqi4x"  # struct flock, as fcntl(2) takes it
GET_LOCK = 36  # F_OFD_GETLK, which not every interpreter names

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]

Ancestor = tuple[int, int]  # pid and start time


def main(folder: str, mark: str, fd: int) -> int:
    """Remove what dead families have left; sleep until everybody of this one is gone, and remove what is left of it.

    `fd` is of the family's file, with the lock that says that there is a tracker. The exit status is 1 where there was
    anything to remove.
    """
    try:
        sweep(folder, mark)
    except OSError:  # no descriptors, or no folder any more
        pass
    fcntl.flock(fd, fcntl.LOCK_EX)  # each process of the family shares it
    namespace, ancestors = family_of(fd)
    while namespace == own_namespace() and (left := [one for one in ancestors if is_alive(one)]):
        wait_for(left[0])
    is_rehearsal = DUMMY in written(fd).values()
    removed = remove(folder, mark, fd)
    if removed:
        sys.stderr.write(
            f"resource_tracker: There appear to be {len(removed)} leaked shared_memory objects to clean up at "
            f"shutdown: {removed}\n"
        )
    return 1 if removed or is_rehearsal else 0


def has_tracker(folder: str, name: str, fd: int) -> bool:
    """Return whether a family's tracker is there, by the lock that it has: it removes what is left, and tells of it."""
    if LISTED != "/dev/shm":
        return is_locked(f"{folder}/{name}{BESIDE}")
    answer = fcntl.fcntl(fd, GET_LOCK, struct.pack(LOCK, fcntl.F_WRLCK, 0, ALIVE, 1, 0))
    return bool(struct.unpack(LOCK, answer)[0] != fcntl.F_UNLCK)


def is_locked(path: str) -> bool:
    """Return whether somebody has locked a file."""
    try:
        fd = posix.open(path, posix.O_RDWR | posix.O_NOFOLLOW | posix.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return False
    except BlockingIOError:
        return True
    finally:
        posix.close(fd)


def sweep(folder: str, mark: str = "") -> list[str]:
    """Remove what families of this user have left that are dead, trackers and all; return the names."""
    removed = []
    for name in posix.listdir(folder):
        other = name[len(HIDDEN) :]
        if not name.startswith(HIDDEN) or len(other) != MARK or other == mark:
            continue
        try:
            fd = posix.open(f"{folder}/{name}", posix.O_RDWR | posix.O_NOFOLLOW | posix.O_CLOEXEC)
        except OSError:  # another user's, or gone
            continue
        try:
            if posix.fstat(fd).st_uid != posix.geteuid() or has_tracker(folder, name, fd):
                continue
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)  # somebody alive shares it
            namespace, ancestors = family_of(fd)
            if not ancestors or (namespace == own_namespace() and not any(map(is_alive, ancestors))):
                removed += remove(folder, other, fd)
        except OSError:  # it is alive
            pass
        finally:
            posix.close(fd)
    return removed


def family_of(fd: int) -> tuple[int, list[Ancestor]]:
    """Return what a family's file says: the namespace of pids, and the processes that its founder descends from."""
    numbers = []
    for word in posix.pread(fd, 4096, 0).split(b"\n")[0].split():
        numbers.append(int(word) if word.isdigit() else 0)
    return (numbers[0] if numbers else 0), list(zip(numbers[1::2], numbers[2::2]))  # noqa: B905  (a torn one is short)


def own_namespace() -> int:
    """Return the namespace of this process's pids, 0 where there is none."""
    try:
        return posix.stat(f"{PROC}/self/ns/pid").st_ino
    except OSError:
        return 0


def start_time(pid: int) -> int:
    """Return when a process was started, in ticks of the system; 0 if there is none of that pid, or it is a zombie."""
    if PROC != "/proc":
        return start_by_ps(pid)
    try:
        fd = posix.open(f"{PROC}/{pid}/stat", posix.O_RDONLY | posix.O_CLOEXEC)
        try:
            fields = posix.read(fd, 4096).rpartition(b")")[2].split()
        finally:
            posix.close(fd)
        return 0 if fields[0] in (b"Z", b"X") else int(fields[19])
    except (OSError, IndexError, ValueError):
        return 0


def start_by_ps(pid: int) -> int:
    """Return it in seconds, as ps(1) tells it (_platform/processes.py), where there is no /proc."""
    read_fd, write_fd = posix.pipe()
    try:
        environment = {**posix.environ, b"LC_ALL": b"C", b"TZ": b"UTC"}
        words = ["ps", "-o", "stat=", "-o", "lstart=", "-p", str(pid)]
        made = posix.posix_spawnp("ps", words, environment, file_actions=[(posix.POSIX_SPAWN_DUP2, write_fd, 1)])
        posix.close(write_fd)
        write_fd = -1
        text = b""
        while piece := posix.read(read_fd, 4096):
            text += piece
        posix.waitpid(made, 0)
        state, _, month, day, clock, year = text.decode().split()
        hour, minute, second = map(int, clock.split(":"))
        days = (int(year) * 12 + MONTHS.index(month)) * 31 + int(day)  # a number to compare
        return 0 if state.startswith("Z") else ((days * 24 + hour) * 60 + minute) * 60 + second
    except (OSError, ValueError, OverflowError):  # there is none of that pid; or no ps
        return 0
    finally:
        posix.close(read_fd)
        if write_fd >= 0:
            posix.close(write_fd)


def is_alive(ancestor: Ancestor) -> bool:
    """Return whether a process is still there, and not another of its pid. Seconds waver by one."""
    return ancestor[1] != 0 and abs(start_time(ancestor[0]) - ancestor[1]) <= (PROC != "/proc")


def wait_for(ancestor: Ancestor) -> None:
    """Wait until a process has ended, or at least a while."""
    if hasattr(select, "kqueue"):
        wait_by_kqueue(ancestor)
        return
    try:
        fd = posix.pidfd_open(ancestor[0], 0) if PROC == "/proc" else -1
    except (OSError, AttributeError):
        fd = -1
    if fd < 0:
        time.sleep(0.5)
        return
    try:
        if is_alive(ancestor):
            select.select([fd], [], [])
    finally:
        posix.close(fd)


def wait_by_kqueue(ancestor: Ancestor) -> None:
    """Wait until a process has ended: kqueue(2), of the systems that descend from BSD."""
    bsd: Any = select
    queue = bsd.kqueue()
    try:
        event = bsd.kevent(ancestor[0], bsd.KQ_FILTER_PROC, bsd.KQ_EV_ADD, bsd.KQ_NOTE_EXIT)
        queue.control([event], 0)
        if is_alive(ancestor):
            queue.control(None, 1)
    except OSError:  # it has ended, or may not be watched
        time.sleep(0.5)
    finally:
        queue.close()


def remove(folder: str, mark: str, fd: int) -> list[str]:
    """Remove what a family has left, and its file; return the names of its segments."""
    names = posix.listdir(folder)
    kept, removed = set(), []
    tags = [name for name in names if name.startswith(f"{HIDDEN}{mark}-")]
    known: list[tuple[str, tuple[int, int]]] = []
    for tag in tags:
        try:
            target = posix.readlink(f"{folder}/{tag}")
        except OSError:
            continue
        device, inode, _ = (*tag[len(HIDDEN) + MARK + 1 :].split("."), "0", "0")[:3]
        if device == "keep":
            kept.add(target)
        else:
            known.append((target, (int(device, 16), int(inode, 16))))
    known += [(f"/{name}", (0, 0)) for name in names if name.startswith(RANDOM + mark)]
    known += [(name, (0, 0)) for name, kind in written(fd).items() if kind == SEGMENT]
    for name, place in known:
        if name not in kept and unlink(folder, name, place):
            removed.append(name)
    for name in (*tags, HIDDEN + mark):
        try:
            posix.unlink(f"{folder}/{name}")
        except OSError:  # somebody was faster
            pass
    return removed


def written(fd: int) -> dict[str, str]:
    """Return what programs have registered by lines of the standard library's, at the file's end, with its kind."""
    names = {}
    for line in posix.pread(fd, 1 << 20, 0).split(b"\n")[1:]:
        try:
            word, name, kind = words_of(line.strip(b"\0"))
        except (ValueError, KeyError, TypeError):  # it is torn, or nonsense
            continue
        if kind in (SEGMENT, DUMMY) and word == "REGISTER":
            names[name] = kind
        elif word == "UNREGISTER" and names.get(name) == kind:
            del names[name]
    return names


def words_of(line: bytes) -> tuple[str, str, str]:
    """Return command, name and kind of a line. Raises ValueError, KeyError or TypeError for what is none."""
    if line.startswith(b"{"):
        import base64
        import json

        message = json.loads(line)
        name = base64.urlsafe_b64decode(message["base64_name"]).decode(errors="surrogateescape")
        return message["cmd"], name, message["rtype"]
    word, _, rest = line.decode(errors="surrogateescape").partition(":")
    name, _, kind = rest.rpartition(":")
    return word, name, kind


def unlink(folder: str, name: str, place: tuple[int, int]) -> bool:
    """Remove a segment of this user, the one at a place unless that is zeros; return whether there was one."""
    name = name.lstrip("/")
    try:
        if folder == LISTED and name and "/" not in name:  # by its path: the name may be any bytes
            info = posix.lstat(f"{folder}/{name}")
            if not is_ours(info, place):
                return False
            posix.unlink(f"{folder}/{name}")
        else:
            import _posixshmem

            fd = _posixshmem.shm_open(f"/{name}", posix.O_RDONLY, mode=0o600)
            info = posix.fstat(fd)
            posix.close(fd)
            if not is_ours(info, place):
                return False
            _posixshmem.shm_unlink(f"/{name}")
    except (OSError, ValueError):  # it is gone, or none
        return False
    return True


def is_ours(info: posix.stat_result, place: tuple[int, int]) -> bool:
    """Return whether a segment is this user's, and the one that was meant."""
    return info.st_uid == posix.geteuid() and place in ((0, 0), (info.st_dev, info.st_ino))
