"""Door to `_launch/spawn`: children by a fresh interpreter."""

from polyproc._launch.spawn import Popen as Popen

__all__ = ["Popen"]
