"""The loop of a pool's fork server: a copy of its client, forked by `client.py: PoolForkServer`.

become a fork server -> fork_loop.Loop; in a child: job.perform_and_exit
"""

from __future__ import annotations

import _signal
import os

from polyproc._forkserver.fork_loop import Loop
from polyproc._process.child_life import after_fork, hang_on, lifeline
from polyproc._process.job import perform_and_exit
from polyproc._start.fork import replace_streams

TYPE_CHECKING = False  # a bare name: a child does without `typing`, type checkers know what is meant
if TYPE_CHECKING:
    from typing import NoReturn


def main(socket_fd: int, client_pid: int, comm: str, mask: set[int]) -> NoReturn:
    """Serve; in a child, live its life. SIGINT and SIGTERM are blocked; `mask` is what shall be."""
    _signal.signal(_signal.SIGINT, _signal.SIG_IGN)
    handlers = {}
    on_sigterm = _signal.getsignal(_signal.SIGTERM)
    if on_sigterm is not None:  # else it was not set from Python, and cannot be set again
        handlers[int(_signal.SIGTERM)] = on_sigterm
        _signal.signal(_signal.SIGTERM, _signal.SIG_DFL)
    _signal.pthread_sigmask(_signal.SIG_SETMASK, mask)
    _signal.set_wakeup_fd(-1)  # an event loop's, which shall not hear of our signals
    lifeline_fd = lifeline.take_inherited()
    hang_on(os.dup(lifeline_fd))
    after_fork()
    replace_streams()
    # A child hangs on to the client before it has a job: others may hold the client's end of its channel.
    loop = Loop(socket_fd, lifeline_fd, client_pid, comm, lambda _: hang_on(os.dup(lifeline_fd)), handlers)
    job = loop.serve()
    perform_and_exit(job, job.get("parent_sentinel"))
    os._exit(1)
