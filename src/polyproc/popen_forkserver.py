"""Public names of `_forkserver/fork_server`: children by the fork server."""

from polyproc._start.waiting_child import ForkServerChild as Popen

__all__ = ["Popen"]
