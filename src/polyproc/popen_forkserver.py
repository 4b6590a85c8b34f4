"""Public names of `_start/forkserver`: children by the fork server."""

from polyproc._forkserver.fork_server import ForkServerChild as Popen

__all__ = ["Popen"]
