"""References: the objects of a manager's server, and the processes that refer to them."""

from __future__ import annotations

import collections
import threading
import time

from polyproc._managers.serving import Client, watch
from polyproc._typing import Any

# Seconds that an object stays whose token is on its way to a process that has not said that it has it; and that what a
# forked child inherits waits for that child.
LENT = 120.0


class Entry:
    """An object, and who refers to it."""

    def __init__(self, obj: Any, exposed: Any, method_to_typeid: dict[str, str] | None) -> None:
        self.obj = obj
        self.exposed = frozenset(exposed)
        watch(obj)
        self.method_to_typeid = method_to_typeid or {}
        self.references: collections.Counter[str] = collections.Counter()
        # Passages of tokens that are on their way, and of those that came before their departure was told; until when.
        self.lent: dict[str, float] = {}
        self.early: dict[str, float] = {}

    def lend(self, passage: str, now: float) -> None:
        """Keep it until a token has arrived, but not for ever."""
        if self.early.pop(passage, None) is None:
            self.lent[passage] = now + LENT

    def arrived(self, passage: str, now: float) -> None:
        """Note that a token has arrived."""
        if self.lent.pop(passage, None) is None:
            self.early[passage] = now + LENT

    def expire(self, now: float) -> bool:
        """Forget what is late; return whether something was lent in vain."""
        late = [passage for passage, until in self.lent.items() if until <= now]
        for passage in late:
            del self.lent[passage]
        self.early = {passage: until for passage, until in self.early.items() if until > now}
        return bool(late)


class ClientExit:
    """How a client process ended, once that is known: its anchor tells. One that says good-bye has not died."""

    def __init__(self) -> None:
        self.known = threading.Event()
        self.died = True
        self.parked: list[Client] = []  # those of its connections that have gone before and hold locks


class References:
    """The objects, by name, and who refers to them. One for each server.

    A process refers to an object from the moment on at which the server has made it, or at which it says that a token
    has arrived. What is on its way is lent; what a forked child finds in its memory is its own before its parent can
    let go. So there is no moment between a sender's end and a receiver's beginning at which nobody refers to an object.
    """

    def __init__(self) -> None:
        self.entries: dict[str, Entry] = {}
        self.mutex = threading.RLock()
        self._heirs: dict[str, float] = {}  # forked children that have not come yet, and until when they may
        self._present: set[str] = set()

    def add(self, name: str, obj: Any, exposed: Any, method_to_typeid: dict[str, str] | None) -> str:
        """Add a process's reference to an object, perhaps a new one; return the object's name."""
        ident = f"{id(obj):x}"
        with self.mutex:
            if ident not in self.entries:
                self.entries[ident] = Entry(obj, exposed, method_to_typeid)
            self.entries[ident].references[name] += 1
        return ident

    def claim(self, name: str, ident: str, passage: str | None = None) -> None:
        """Add a process's reference to an object, perhaps by a token on its way. Raises KeyError if it is gone."""
        with self.mutex:
            entry = self.entries[ident]
            entry.references[name] += 1
            if passage is not None:
                entry.arrived(passage, time.monotonic())

    def lend(self, ident: str, passage: str) -> None:
        """Keep an object for a while: its token is on its way to another process."""
        with self.mutex:
            if ident in self.entries:
                self.entries[ident].lend(passage, time.monotonic())

    def inherit(self, name: str, heir: str) -> None:
        """Give a child that is being forked its parent's references, until it connects and says otherwise."""
        with self.mutex:
            for entry in self.entries.values():
                if (count := entry.references[name]) > 0:
                    entry.references[heir] = count
            if heir not in self._present:
                self._heirs[heir] = time.monotonic() + LENT

    def arrived(self, name: str) -> None:
        """Note that a process has come: from now on its end is seen."""
        with self.mutex:
            self._present.add(name)
            self._heirs.pop(name, None)

    def drop(self, name: str, ident: str) -> None:
        """Remove one of a process's references to an object."""
        dropped = None
        with self.mutex:
            entry = self.entries.get(ident)
            if entry is not None and entry.references[name] > 0:
                entry.references[name] -= 1
                dropped = self._drop_if_unused(ident, entry)
        del dropped  # its finalizer is the user's, and runs without the lock

    def _drop_if_unused(self, ident: str, entry: Entry) -> Entry | None:
        if any(entry.references.values()) or entry.lent:
            return None
        return self.entries.pop(ident)

    def drop_client(self, name: str) -> None:
        """Drop all references of a process that has ended."""
        dropped = []
        with self.mutex:
            self._present.discard(name)
            for ident, entry in list(self.entries.items()):
                if entry.references.pop(name, 0):
                    dropped.append(self._drop_if_unused(ident, entry))
        dropped.clear()

    def sweep(self) -> None:
        """Drop what was lent and not fetched in time, and what children inherited that have not come."""
        dropped, now = [], time.monotonic()
        with self.mutex:
            late = [heir for heir, until in self._heirs.items() if until <= now]
            for heir in late:
                del self._heirs[heir]
            for ident, entry in list(self.entries.items()):
                if (entry.lent or entry.early) and entry.expire(now):
                    dropped.append(self._drop_if_unused(ident, entry))
        dropped.clear()
        for heir in late:
            self.drop_client(heir)
