"""Door to `_launch/forkserver`: children by the fork server."""

from polyproc._launch.forkserver import Popen as Popen

__all__ = ["Popen"]
