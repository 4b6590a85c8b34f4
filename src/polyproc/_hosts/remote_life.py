"""A child's life on another host: become the process that was described elsewhere, and run it.

The agent has started it, in a local way; to that one it is a process whose target is `live`. What the process returns,
raises and writes goes the local way to the agent, and from there to who asked for it.
"""

from __future__ import annotations

import _signal  # `signal` makes enumerations of it
import marshal
import os
import pickle
import sys

from polyproc._base.process_state import process_state
from polyproc._base.typing import TYPE_CHECKING, Any
from polyproc._hosts.carried_code import install
from polyproc._platform.handles import open_pidfd
from polyproc._process.job import apply_preparation, unmarshal

if TYPE_CHECKING:
    from polyproc._connection.connection import Connection
    from polyproc._process.process import BaseProcess


class RemoteLife:
    """What this process has besides, if it was started from another host. One instance, `remote_life`.

    Attributes:
        channel: of a pool's worker: the descriptor of its pipe, and the memory by which the agent names the call that
            it is to end, and whether its pool opens what it has in memory.
        door: the descriptor by which its agent is asked for what is shared (shared_things.py).
    """

    door: int | None = None

    def __init__(self) -> None:
        self.channel: tuple[int, Any, bool] | None = None


remote_life = RemoteLife()


def live(
    data: bytes,
    streams: tuple[Connection[Any, Any], Connection[Any, Any]],
    door: Connection[Any, Any],
    channel: Any,
    blocks: list[tuple[Any, int]],
) -> Any:
    """Become what a job says and run it; return what it returns."""
    _signal.signal(_signal.SIGTERM, _signal.SIG_DFL)  # and not what the agent does, if it has forked us
    _signal.signal(_signal.SIGINT, _signal.default_int_handler)
    for fd, end in zip((1, 2), streams, strict=True):
        os.dup2(end.fileno(), fd)
        end.close()
    remote_life.door = os.dup(door.fileno())
    door.close()
    if channel is not None:
        end, word, hands_over = channel
        remote_life.channel = os.dup(end.fileno()), word, hands_over
        end.close()
    return _become(marshal.loads(data), blocks).run()


def _become(job: dict[str, Any], blocks: list[tuple[Any, int]]) -> BaseProcess[Any]:
    own_path = sys.path.copy()
    process_state.receiving = True
    try:
        install(job.pop("modules"))
        # Its folders may be other ones here; what this host's Python finds by itself comes after them.
        path = [entry for entry in job["sys_path"] if os.path.exists(entry)]
        job["sys_path"] = path + [entry for entry in own_path if entry not in path]
        apply_preparation(job)
        payload: bytes = job["payload"]
        buffers = [memoryview(block.buffer).cast("B")[:size] for block, size in blocks]
        process: BaseProcess[Any]
        process = pickle.loads(payload, buffers=buffers) if job["pickled"] else unmarshal(payload)
    finally:
        process_state.receiving = False
    # Of its parent, on another host, it sees the end by that of the agent, which ends with it.
    agent, facts = open_pidfd(os.getppid()), process_state.parent_facts
    if agent < 0 and facts is not None and facts[2] is not None:  # a pipe that ends with it, where there are no pidfds
        agent = facts[2]
    process_state.parent = None
    process_state.parent_facts = (process._parent_name, process._parent_pid or 0, agent if agent >= 0 else None)
    process_state.current = process
    return process
