"""Public names of `_start/spawn`: children by a fresh interpreter."""

from polyproc._start.spawn import SpawnChild as Popen

__all__ = ["Popen"]
