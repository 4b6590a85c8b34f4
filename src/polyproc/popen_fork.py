"""Public names of `_start/fork`: children by fork."""

from polyproc._start.fork import ForkChild as Popen

__all__ = ["Popen"]
