"""Public names of `_pickling/`: objects to bytes that another process can open."""

from polyproc._pickling.reducers import HAVE_SEND_HANDLE as HAVE_SEND_HANDLE
from polyproc._pickling.reducers import recv_handle as recv_handle
from polyproc._pickling.reducers import send_handle as send_handle
from polyproc._pickling.sending import DupFd as DupFd
from polyproc._pickling.pickler import ForkingPickler as ForkingPickler
from polyproc._pickling.pickler import dump as dump
from polyproc._pickling.pickler import register as register

# Kept for programs that reach inside multiprocessing.
from polyproc._pickling.reducers import AbstractReducer as AbstractReducer
from polyproc._pickling.reducers import _rebuild_partial as _rebuild_partial
from polyproc._pickling.reducers import _reduce_method as _reduce_method
from polyproc._pickling.reducers import _reduce_method_descriptor as _reduce_method_descriptor
from polyproc._pickling.reducers import _reduce_partial as _reduce_partial
from polyproc._pickling.foreign import _rebuild_socket as _rebuild_socket
from polyproc._pickling.foreign import _reduce_socket as _reduce_socket
from polyproc._pickling.reducers import ACKNOWLEDGE as ACKNOWLEDGE
from polyproc._pickling.reducers import recvfds as recvfds
from polyproc._pickling.reducers import sendfds as sendfds

__all__ = ["HAVE_SEND_HANDLE", "DupFd", "ForkingPickler", "dump", "recv_handle", "register", "send_handle"]
