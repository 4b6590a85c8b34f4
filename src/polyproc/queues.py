"""Public names of `_queues/`: many to many."""

from polyproc._queues.queue import Empty as Empty
from polyproc._queues.queue import Full as Full
from polyproc._queues.queue import JoinableQueue as JoinableQueue
from polyproc._queues.queue import Queue as Queue
from polyproc._queues.queue import ShutDown as ShutDown
from polyproc._queues.queue import SimpleQueue as SimpleQueue

# Kept for programs that reach inside multiprocessing.
from polyproc._cleanup import register_after_fork as register_after_fork
from polyproc._base.process_state import exit_sequence as _exit_sequence
from polyproc._cleanup import Finalize as Finalize
from polyproc._base.process_state import log as _log
from polyproc._base.typing import Final as _Final
from polyproc._pickling.pickler import ForkingPickler as _ForkingPickler
from polyproc._queues.classic import _sentinel as _sentinel

debug: _Final = _log.debug
info: _Final = _log.info
is_exiting: _Final = _exit_sequence.is_exiting

__all__ = ["JoinableQueue", "Queue", "SimpleQueue"]
