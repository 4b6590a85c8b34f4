"""Objects that were sent and have not arrived: kept here until the receiver has them, or no process can get them.

A message says where its receipt goes: to a slot of an anonymous file of the sender, which the receiver opens as it
opens what it was sent (sending.py).

    sender                                       receiver
    keep(thing): slot 7, number 42
    message: where thing is, slot 7, 42   --->   opens the thing, then writes 42 to slot 7
    a thread sees it: thing is let go            it has it

A message may never arrive: its receiver was killed, or what it travelled through was dropped. So what it travels
through is noted (sending.py), and looked for among what all processes have open or mapped (proc(5)): where nobody has
it, no message is in it. That is to be seen twice, since a descriptor may be on its way itself.

A ticket of the sharer, which is good for one receiver, needs no receipt: the sharer knows whether it was used.

A sender that keeps a pickle to send it more than once, as a pool does, keeps what is in it as well (`dumps_to_keep`).
"""

from __future__ import annotations

import os
import socket
import stat
import struct
import sys
import threading
import time

from polyproc._base.process_state import log
from polyproc._base.typing import TYPE_CHECKING, Any, Callable
from polyproc._platform.handles import ready
from polyproc._platform.posix import PROC, anonymous_file, close_quietly, tells_of_processes

if TYPE_CHECKING:
    from polyproc._pickling.sending import Passage

_SLOT = 8
_BY_FAMILY, _PEER = 20, 2  # SOCK_DIAG_BY_FAMILY, UNIX_DIAG_PEER
_SHORTEST, _LONGEST = 0.002, 0.5  # seconds from one look at the receipts to the next
_LINGER = 0.1  # seconds for which the thread stays when nothing is on its way
_SEARCH, _SELDOM = 0.5, 30.0  # seconds from one search for what messages travel through to the next
_SHARE = 20  # a search may take this part of a processor

Channel = tuple[str, int]  # what kind of thing a message travels through, and its inode


class Sent:
    """A thing that is on its way."""

    __slots__ = ("channel", "missed", "number", "thing")

    def __init__(self, number: int, thing: Any) -> None:
        self.number = number
        self.thing = thing
        self.channel: Channel | None = None
        self.missed = False


class Unused:
    """A ticket of the sharer, which gives up what it stands for with this object."""

    def __init__(self, key: bytes) -> None:
        self.key = key

    def has_arrived(self) -> bool:
        """Return whether somebody has used it."""
        return not sharer().has(self.key)

    def __del__(self) -> None:
        sharer().forget(self.key)


def sharer() -> Any:
    """Return the sharer, which is some floors above."""
    from polyproc._connection.sharer import sharer

    return sharer


class InTransit:
    """The things on their way from this process. One instance, `in_transit`."""

    def __init__(self) -> None:
        self._lock = threading.RLock()  # taken again where the garbage collector runs a finalizer that sends something
        self._sent: dict[int, Sent] = {}
        self._free: list[int] = []
        self._slots = 0
        self._number = 0
        self._fd = -1
        self._inode = 0
        self._runs = False
        self._wake = threading.Event()
        os.register_at_fork(after_in_child=self.after_fork_in_child)

    def __len__(self) -> int:
        return len(self._sent)

    def keep(self, thing: Any, passage: Passage | None) -> tuple[int, int, int, int]:
        """Keep a thing, sent with a message, until its receipt is there; return where that goes.

        Returns: descriptor, inode, slot, number.

        Raises:
            OSError: no descriptor is left.
        """
        with self._lock:
            self._open()
            if not self._free:
                self._free = list(range(self._slots + 511, self._slots - 1, -1))
                self._slots += 512
            slot = self._free.pop()
            self._number += 1
            sent = self._sent[slot] = Sent(self._number, thing)
            entry = self._fd, self._inode, slot, sent.number
        if passage is not None:
            sent.channel = _channel_of(passage.through())
            passage.kept.append((slot, sent.number))
        self._have_watched()
        return entry

    def forget(self, slot: int, number: int) -> None:
        """Release an object whose message was not sent."""
        with self._lock:
            sent = self._sent.get(slot)
            if sent is not None and sent.number == number:
                del self._sent[slot]
                self._free.append(slot)

    def _open(self) -> None:
        """Make the file, unless it is there: a program may have closed all descriptors, and the number be another's."""
        if self._fd >= 0 and _inode_of(self._fd) == self._inode:
            return
        self._fd = anonymous_file("polyproc-receipts")
        self._inode = os.fstat(self._fd).st_ino

    def _close(self) -> None:
        if self._fd >= 0 and _inode_of(self._fd) == self._inode:
            close_quietly(self._fd)
        self._fd = -1
        self._slots, self._free = 0, []

    # -- looking ---------------------------------------------------------------------------------------------------

    def _have_watched(self) -> None:
        self._wake.set()
        with self._lock:
            if self._runs:
                return
            self._runs = True
        try:
            threading.Thread(target=self._watch, name="polyproc-in-transit", daemon=True).start()
        except RuntimeError:  # no thread is to be had: the next that is sent tries again
            self._runs = False
            self.take_receipts()

    def _watch(self) -> None:
        pause, idle_since, search, next_search = _SHORTEST, 0.0, _SEARCH, time.monotonic() + _SEARCH
        while True:
            self._wake.clear()
            try:
                if self.take_receipts():
                    pause = _SHORTEST
                now = time.monotonic()
                if self._sent and now >= next_search:
                    began = time.thread_time()
                    found = self.search()
                    search = _SEARCH if found else min(search * 2, _SELDOM)
                    next_search = time.monotonic() + max(search, (time.thread_time() - began) * _SHARE)
            except Exception as error:  # noqa: BLE001  (no descriptor or memory left: later there is)
                log.info("what was sent could not be checked for its arrival: %s", error)
            now = time.monotonic()
            if self._sent:
                idle_since = 0.0
            elif not idle_since:
                idle_since = now
            elif now - idle_since > _LINGER:
                with self._lock:
                    if not self._sent:
                        self._runs = False
                        self._close()
                        return
            if self._wake.wait(pause):
                search, next_search = _SEARCH, min(next_search, now + _SEARCH)
                pause = _SHORTEST
                ready((), _SHORTEST)  # a pause
            else:
                pause = min(pause * 2, _LONGEST)

    def take_receipts(self) -> int:
        """Release the objects that have arrived; return their number."""
        with self._lock:
            if not self._sent or _inode_of(self._fd) != self._inode:
                return 0
            data = os.pread(self._fd, self._slots * _SLOT, 0)
            numbers = memoryview(data[: len(data) // _SLOT * _SLOT]).cast("Q")
            arrived = [
                slot
                for slot, sent in self._sent.items()
                if (slot < len(numbers) and numbers[slot] == sent.number)
                or (type(sent.thing) is Unused and sent.thing.has_arrived())
            ]
            gone = [self._sent.pop(slot) for slot in arrived]
            self._free += arrived
        return len(gone)  # what they are is let go here, without the lock

    def search(self) -> int:
        """Release the objects that nobody can receive any more; return their number."""
        with self._lock:
            waiting = [(slot, sent) for slot, sent in self._sent.items() if sent.channel is not None]
        if not waiting:
            return 0
        wanted = {sent.channel for _, sent in waiting if sent.channel is not None}
        there = find(wanted)
        there |= mapped({sent.channel for _, sent in waiting if sent.missed and sent.channel is not None} - there)
        lost = []
        with self._lock:
            for slot, sent in waiting:
                if sent.channel in there:
                    sent.missed = False
                elif not sent.missed:
                    sent.missed = True
                elif self._sent.get(slot) is sent:
                    lost.append(self._sent.pop(slot))
                    self._free.append(slot)
        return len(lost)

    def after_fork_in_child(self) -> None:
        """In a forked child: what was sent is the parent's to keep."""
        self._lock = threading.RLock()
        self._wake = threading.Event()
        self._runs = False
        self._close()
        for sent in self._sent.values():
            if type(sent.thing) is Unused:
                sent.thing.key = b""  # the sharer's own reset closes what it stands for
        self._sent = {}


in_transit = InTransit()


def _inode_of(fd: int) -> int:
    try:
        return os.fstat(fd).st_ino
    except OSError:  # somebody has closed it
        return -1


# -- what messages travel through ----------------------------------------------------------------------------------


def _channel_of(fd: int) -> Channel | None:
    """Return the open files of processes that could receive from a descriptor; None if that cannot be told."""
    if not tells_of_processes():
        return None
    info = os.fstat(fd)
    if stat.S_ISFIFO(info.st_mode):
        return "pipe", info.st_ino
    if stat.S_ISSOCK(info.st_mode):
        peer = _peer_of(info.st_ino)
        return None if peer is None else ("socket", peer)
    return "memory", info.st_ino


def _peer_of(inode: int) -> int | None:
    """Return the inode of the other end of a Unix socket: sock_diag(7)."""
    any_cookie, all_states, show_peer = 0xFFFFFFFF, 0xFFFFFFFF, 4
    header = 40, _BY_FAMILY, 1, 1, 0  # length, type, NLM_F_REQUEST, number, port
    asked_for = socket.AF_UNIX, 0, 0, all_states, inode, show_peer, any_cookie, any_cookie
    request = struct.pack("=IHHIIBBHIIIII", *header, *asked_for)
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 4) as asked:  # NETLINK_SOCK_DIAG
            asked.settimeout(1)
            asked.sendto(request, (0, 0))
            answer = asked.recv(8192)
    except (OSError, AttributeError):
        return None
    if len(answer) < 32 or struct.unpack_from("=H", answer, 4)[0] != _BY_FAMILY:
        return None
    place = 32
    while place + 8 <= len(answer):
        length, kind = struct.unpack_from("=HH", answer, place)
        if kind == _PEER:
            peer: int = struct.unpack_from("=I", answer, place + 4)[0]
            return peer or None
        place += max((length + 3) & ~3, 4)
    return None


def find(wanted: set[Channel]) -> set[Channel]:
    """Return which of these any process has open, as far as this user may look."""
    return _look(_open_in, wanted)


def mapped(wanted: set[Channel]) -> set[Channel]:
    """Return which of these any process has mapped: one that has closed all its descriptors. It takes longer."""
    return _look(_mapped_in, {channel for channel in wanted if channel[0] == "memory"})


def _look(there: Callable[[str, set[Channel]], set[Channel]], wanted: set[Channel]) -> set[Channel]:
    found: set[Channel] = set()
    for pid in os.listdir(PROC):
        if len(found) == len(wanted):
            break
        if pid.isdigit():
            try:
                found |= there(pid, wanted)
            except OSError:  # it has ended, or is another user's
                pass
    return found


def _open_in(pid: str, wanted: set[Channel]) -> set[Channel]:
    found: set[Channel] = set()
    for name in os.listdir(f"{PROC}/{pid}/fd"):
        path = f"{PROC}/{pid}/fd/{name}"
        try:
            link = os.readlink(path)
            if link.startswith("socket:["):
                found.add(("socket", int(link[8:-1])))
            elif link.startswith("pipe:[") and os.lstat(path).st_mode & stat.S_IRUSR:
                found.add(("pipe", int(link[6:-1])))
            elif link.endswith(" (deleted)"):  # also where there are no memfds
                found.add(("memory", os.stat(path).st_ino))
        except OSError:  # closed meanwhile
            pass
    return found & wanted


def _mapped_in(pid: str, wanted: set[Channel]) -> set[Channel]:
    found: set[Channel] = set()
    with open(f"{PROC}/{pid}/maps", "rb") as file:
        for line in file:
            if line.endswith(b" (deleted)\n"):
                found.add(("memory", int(line.split(None, 5)[4])))
    return found & wanted


# -- in the receiver -----------------------------------------------------------------------------------------------


def acknowledge(pid: int, fd: int, inode: int, slot: int, number: int) -> None:
    """Write a receipt; where the sender has ended nobody waits for it."""
    try:
        opened = os.open(f"{PROC}/{pid}/fd/{fd}", os.O_WRONLY | os.O_CLOEXEC)
    except OSError:
        return
    try:
        if os.fstat(opened).st_ino == inode:
            os.pwrite(opened, number.to_bytes(_SLOT, sys.byteorder), slot * _SLOT)
    finally:
        os.close(opened)
