"""Public names of `_connection/`: giving descriptors to processes that run already."""

from polyproc._connection.sharer import DupFd as DupFd
from polyproc._connection.sharer import DupSocket as DupSocket
from polyproc._connection.sharer import stop as stop

# Kept for programs that reach inside multiprocessing.
from polyproc._connection.sharer import Sharer as _ResourceSharer
from polyproc._connection.sharer import sharer as _resource_sharer

__all__ = ["DupFd", "DupSocket", "stop"]
