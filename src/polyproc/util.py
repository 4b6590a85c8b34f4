"""Public names of `_cleanup` and the log: what the standard library keeps in `util`."""

from polyproc._base import modules as _modules
from polyproc._cleanup import ForkAwareLocal as ForkAwareLocal
from polyproc._cleanup import ForkAwareThreadLock as ForkAwareThreadLock
from polyproc._cleanup import register_after_fork as register_after_fork
from polyproc._base.process_state import exit_sequence as _exit_sequence
from polyproc._cleanup import Finalize as Finalize
from polyproc._cleanup import get_temp_dir as get_temp_dir
from polyproc._base.process_state import SUBDEBUG as SUBDEBUG
from polyproc._base.process_state import SUBWARNING as SUBWARNING
from polyproc._base.process_state import log as _log
from polyproc._base.logger import get_logger as get_logger
from polyproc._base.logger import log_to_stderr as log_to_stderr
from polyproc._base.logger import logging_state as _logging_state

# Kept for programs that reach inside multiprocessing.
from polyproc._cleanup import _afterfork_counter as _afterfork_counter
from polyproc._cleanup import _afterfork_registry as _afterfork_registry
from polyproc._cleanup import run_after_forkers as _run_after_forkers
from polyproc._cleanup import _finalizer_counter as _finalizer_counter
from polyproc._cleanup import _finalizer_registry as _finalizer_registry
from polyproc._cleanup import run_finalizers as _run_finalizers
from polyproc._cleanup import abstract_sockets_supported as abstract_sockets_supported
from polyproc._cleanup import close_all_fds_except as close_all_fds_except
from polyproc._cleanup import close_fds as close_fds
from polyproc._cleanup import is_abstract_socket_namespace as is_abstract_socket_namespace
from polyproc._forkserver.fork_server import cleanup_tests as _cleanup_tests
from polyproc._base.process_state import DEBUG as DEBUG
from polyproc._base.process_state import INFO as INFO
from polyproc._base.process_state import NOTSET as NOTSET
from polyproc._base.typing import Final as _Final
from polyproc._base.logger import DEFAULT_LOGGING_FORMAT as DEFAULT_LOGGING_FORMAT
from polyproc._base.logger import LOGGER_NAME as LOGGER_NAME
from polyproc._platform.interpreter import flag_arguments as _args_from_interpreter_flags
from polyproc._platform.interpreter import spawn_with_fds as spawnv_passfds
from polyproc._platform.interpreter import starter as _starter
from polyproc._process.child_life import flush_streams as _flush_std_streams

_modules.live(__name__, _logging_state, _logger="logger", _log_to_stderr="to_stderr")
_modules.live(__name__, _starter, "spawnv_passfds")
_exit_function = _exit_sequence.run
is_exiting: _Final = _exit_sequence.is_exiting
sub_debug: _Final = _log.sub_debug
debug: _Final = _log.debug
info: _Final = _log.info
sub_warning: _Final = _log.sub_warning
warn: _Final = _log.warn

__all__ = [
    "SUBDEBUG",
    "SUBWARNING",
    "Finalize",
    "ForkAwareLocal",
    "ForkAwareThreadLock",
    "close_all_fds_except",
    "close_fds",
    "debug",
    "get_logger",
    "get_temp_dir",
    "info",
    "is_exiting",
    "log_to_stderr",
    "register_after_fork",
    "sub_debug",
    "sub_warning",
    "warn",
]
