"""Public names of `_threads/dummy_connection`: pipes between threads."""

from polyproc._threads.dummy_connection import Client as Client
from polyproc._threads.dummy_connection import Connection as Connection
from polyproc._threads.dummy_connection import Listener as Listener
from polyproc._threads.dummy_connection import Pipe as Pipe
from polyproc._threads.dummy_connection import families as families

__all__ = ["Client", "Listener", "Pipe"]
