"""Public names of `_context`: contexts, and the errors under their old place."""

from polyproc._context import BaseContext as BaseContext
from polyproc._context import DefaultContext as DefaultContext
from polyproc._context import ForkContext as ForkContext
from polyproc._context import ForkServerContext as ForkServerContext
from polyproc._context import SpawnContext as SpawnContext
from polyproc._base.errors import AuthenticationError as AuthenticationError
from polyproc._base.errors import BufferTooShort as BufferTooShort
from polyproc._base.errors import ProcessError as ProcessError
from polyproc._base.errors import TimeoutError as TimeoutError
from polyproc._process.process import ForkProcess as ForkProcess
from polyproc._process.process import ForkServerProcess as ForkServerProcess
from polyproc._process.process import Process as Process
from polyproc._process.process import SpawnProcess as SpawnProcess

# Kept for programs that reach inside multiprocessing.
from polyproc._context import force_start_method as _force_start_method
from polyproc._context import default_context as _default_context
from polyproc._context import contexts as _concrete_contexts
from polyproc._pickling.sending import assert_spawning as assert_spawning
from polyproc._pickling.sending import current as get_spawning_popen
from polyproc._pickling.sending import set_spawning as set_spawning_popen

__all__ = ()
