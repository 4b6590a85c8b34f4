"""Public names of `_forkserver/fork_server`: children by the fork server."""

from polyproc._forkserver.fork_server import ForkServerChild as Popen

__all__ = ["Popen"]
