"""Door to `_launch/fork`: children by fork."""

from polyproc._launch.fork import Popen as Popen

__all__ = ["Popen"]
