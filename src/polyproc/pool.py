"""Public names of `_pool/`: workers that run calls."""

from polyproc._pool.executor import BrokenProcessPool as BrokenProcessPool
from polyproc._pool.executor import ProcessPoolExecutor as ProcessPoolExecutor
from polyproc._pool.executor import WorkerDied as WorkerDied
from polyproc._pool.future import Future as Future
from polyproc._pool.calls import CallOptions as CallOptions
from polyproc._pool.pool import Pool as Pool
from polyproc._pool.pool import ThreadPool as ThreadPool
from polyproc._scheduling.deaths_and_deadlines import PoolStats as PoolStats
from polyproc._pool.task import Task as Task
from polyproc._pool.task import task as task

# Kept for programs that reach inside multiprocessing.
from polyproc._pool.recipes import INIT as INIT
from polyproc._pool.recipes import job_counter as job_counter
from polyproc._pool.recipes import worker as worker
from polyproc._connection.wait import wait as wait
from polyproc._base.errors import TimeoutError as TimeoutError
from polyproc._base.errors import RemoteTraceback as RemoteTraceback
from polyproc._scheduling.assignments import CLOSE as CLOSE
from polyproc._scheduling.assignments import RUN as RUN
from polyproc._scheduling.assignments import TERMINATE as TERMINATE
from polyproc._pool.pool import ApplyResult as ApplyResult
from polyproc._pool.pool import AsyncResult as AsyncResult
from polyproc._pool.imap import IMapIterator as IMapIterator
from polyproc._pool.imap import IMapUnorderedIterator as IMapUnorderedIterator
from polyproc._pool.pool import MapResult as MapResult
from polyproc._pickling.pickler import ExceptionWithTraceback as ExceptionWithTraceback
from polyproc._workers.worker import MaybeEncodingError as MaybeEncodingError
from polyproc._workers.worker import mapstar as mapstar
from polyproc._pickling.pickler import rebuild_exception as rebuild_exc
from polyproc._workers.worker import starmapstar as starmapstar

__all__ = ["Pool", "ThreadPool"]  # and not the others: `from multiprocessing.pool import *` gives these two
