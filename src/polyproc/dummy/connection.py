"""Public names of `_threads`: pipes between threads."""

from polyproc._threads import Client as Client
from polyproc._threads import Connection as Connection
from polyproc._threads import Listener as Listener
from polyproc._threads import Pipe as Pipe
from polyproc._threads import families as families

__all__ = ["Client", "Listener", "Pipe"]
