"""Public names of `_connection/`: pipes, listeners and clients between processes."""

from polyproc._connection.connection import Connection as Connection
from polyproc._connection.listener import Client as Client
from polyproc._connection.listener import Listener as Listener
from polyproc._connection.connection import Pipe as Pipe
from polyproc._connection.wait import wait as wait

# Kept for programs that reach inside multiprocessing.
from polyproc._base.typing import Any as _Any
from polyproc._base.typing import Callable as _Callable
from polyproc._connection.auth import _FAILURE as FAILURE
from polyproc._connection.auth import _WELCOME as WELCOME
from polyproc._connection.auth import MESSAGE_LENGTH as MESSAGE_LENGTH
from polyproc._connection.connection import Connection as _ConnectionBase
from polyproc._connection.connection import _rebuild as rebuild_connection
from polyproc._connection.listener import _validate_family as _validate_family
from polyproc._pickling.pickler import ForkingPickler as _ForkingPickler
from polyproc._connection.auth import _CHALLENGE as _CHALLENGE
from polyproc._connection.auth import _CHALLENGE as CHALLENGE
from polyproc._connection.auth import _FAILURE as _FAILURE
from polyproc._connection.auth import _WELCOME as _WELCOME
from polyproc._connection.auth import _create_response as _create_response
from polyproc._connection.auth import _verify_challenge as _verify_challenge
from polyproc._connection.auth import answer_challenge as answer_challenge
from polyproc._connection.auth import deliver_challenge as deliver_challenge
from polyproc._base.errors import AuthenticationError as AuthenticationError
from polyproc._base.errors import BufferTooShort as BufferTooShort
from polyproc._connection.listener import address_type as address_type
from polyproc._connection.sockets import arbitrary_address as arbitrary_address
from polyproc._connection.listener import default_family as default_family
from polyproc._connection.listener import families as families

reduce_connection: _Callable[[Connection[_Any, _Any]], tuple[_Any, ...]] = Connection.__reduce__

__all__ = ["Client", "Listener", "Pipe", "wait"]
