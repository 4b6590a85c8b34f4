"""Door to `_connection/`: giving descriptors to processes that run already."""

from polyproc._connection.sharer import DupFd as DupFd
from polyproc._connection.sharer import DupSocket as DupSocket
from polyproc._connection.sharer import stop as stop

__all__ = ["DupFd", "DupSocket", "stop"]
