"""Public names of `_context/`: contexts, and the errors under their old place."""

from polyproc._context.context import BaseContext as BaseContext
from polyproc._context.default import DefaultContext as DefaultContext
from polyproc._context.start_methods import ForkContext as ForkContext
from polyproc._context.start_methods import ForkServerContext as ForkServerContext
from polyproc._context.start_methods import SpawnContext as SpawnContext
from polyproc._errors import AuthenticationError as AuthenticationError
from polyproc._errors import BufferTooShort as BufferTooShort
from polyproc._errors import ProcessError as ProcessError
from polyproc._errors import TimeoutError as TimeoutError
from polyproc._process.kinds import ForkProcess as ForkProcess
from polyproc._process.kinds import ForkServerProcess as ForkServerProcess
from polyproc._process.kinds import Process as Process
from polyproc._process.kinds import SpawnProcess as SpawnProcess

# Kept for programs that reach inside multiprocessing.
from polyproc._context.default import force_start_method as _force_start_method
from polyproc._context.default import default_context as _default_context
from polyproc._context.start_methods import contexts as _concrete_contexts
from polyproc._pickling.spawning import assert_spawning as assert_spawning
from polyproc._pickling.spawning import current as get_spawning_popen
from polyproc._pickling.spawning import set_spawning as set_spawning_popen

__all__ = ()
