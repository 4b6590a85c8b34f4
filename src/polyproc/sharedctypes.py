"""Public names of `_memory/`: values and arrays that processes share."""

from polyproc._memory.raw import RawArray as RawArray
from polyproc._memory.raw import RawValue as RawValue
from polyproc._memory.raw import copy as copy

# Kept for programs that reach inside multiprocessing.
from polyproc._pickling.pickler import ForkingPickler as _ForkingPickler
from polyproc._pickling.spawning import assert_spawning as assert_spawning
from polyproc._memory.raw import in_block as rebuild_ctype
from polyproc._memory.raw import _reduce as reduce_ctype
from polyproc._memory.raw import new as _new_value
from polyproc._memory.raw import typecode_to_type as typecode_to_type
from polyproc._memory.shared_ctypes import Array as Array
from polyproc._memory.shared_ctypes import Synchronized as Synchronized
from polyproc._memory.shared_ctypes import SynchronizedArray as SynchronizedArray
from polyproc._memory.shared_ctypes import SynchronizedBase as SynchronizedBase
from polyproc._memory.shared_ctypes import SynchronizedString as SynchronizedString
from polyproc._memory.shared_ctypes import Value as Value
from polyproc._memory.shared_ctypes import synchronized as synchronized

__all__ = ["Array", "RawArray", "RawValue", "Value", "copy", "synchronized"]
