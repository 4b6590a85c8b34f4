"""The program of the tracker. Its text is run by `_memory/tracker.py`; nobody imports it.

It loads nothing of ours and takes no site: it is there for as long as its family is.
"""

import posix
import select
import sys

FOLDER = "/dev/shm"

Place = tuple[int, int]  # device and inode
Known = dict[tuple[str, str], "set[Place] | None"]  # None: it is to stay

ANY = (0, 0)


def main(read_fd: int, poked_fd: int, ancestors: list[int], marked: str) -> None:
    """Sleep until everybody is gone, and remove what is left; when poked, take in what the pipe holds.

    What is left: what was registered, and what has a name that begins with `marked`, unless that is empty.
    """
    known: Known = {}
    rest = b""
    poller = select.poll()
    poller.register(read_fd, 0)  # its end alone: POLLHUP is told unasked
    poller.register(poked_fd, select.POLLIN)
    is_open = True
    while is_open:
        for fd, _ in poller.poll():
            if fd == poked_fd and not posix.read(poked_fd, 4096):
                poller.unregister(poked_fd)
        try:
            while is_open:
                data = posix.read(read_fd, 65536)
                is_open = bool(data)
                *lines, rest = (rest + data).split(b"\n")
                for line in lines:
                    note(known, line, marked)
        except BlockingIOError:
            pass  # it is empty, and there are writers
    for fd in ancestors:
        select.select([fd], [], [])
    if marked:
        for name in posix.listdir(FOLDER):
            if f"/{name}".startswith(marked):
                known.setdefault(("shared_memory", f"/{name}"), {ANY})
    clean(known)


def note(known: Known, line: bytes, marked: str) -> None:
    """Follow one line."""
    word, *fields = line.decode(errors="surrogateescape").split(" ", 4)
    if word not in ("REGISTER", "UNREGISTER") or len(fields) != 4:
        return
    rtype, device, inode, name = fields
    place = int(device), int(inode)
    places = known.get((rtype, name)) or set()
    if word == "REGISTER":
        known[rtype, name] = places | {place}
    elif marked and name.startswith(marked):
        known[rtype, name] = None
    elif place != ANY and places - {place}:  # another of that name is still there
        known[rtype, name] = places - {place}
    else:
        known.pop((rtype, name), None)


def clean(known: Known) -> None:
    """Remove what is left, and say so."""
    import _posixshmem

    removed = []
    for (rtype, name), places in known.items():
        if rtype != "shared_memory" or places is None:
            continue
        try:
            fd = _posixshmem.shm_open(name, posix.O_RDONLY, mode=0o600)
            info = posix.fstat(fd)
            posix.close(fd)
            if not places.isdisjoint({ANY, (info.st_dev, info.st_ino)}):
                _posixshmem.shm_unlink(name)
                removed.append(name)
        except OSError:
            pass  # somebody was faster
    if removed:
        sys.stderr.write(
            f"resource_tracker: There appear to be {len(removed)} leaked shared_memory objects to clean up at "
            f"shutdown: {removed}\n"
        )
