"""Public names of `_memory/`: values and arrays that processes share."""

from polyproc._synchronize.typed import RawArray as RawArray
from polyproc._synchronize.typed import RawValue as RawValue
from polyproc._synchronize.typed import copy as copy

# Kept for programs that reach inside multiprocessing.
from polyproc._pickling.pickler import ForkingPickler as _ForkingPickler
from polyproc._pickling.sending import assert_spawning as assert_spawning
from polyproc._synchronize.typed import in_block as rebuild_ctype
from polyproc._synchronize.typed import _reduce as reduce_ctype
from polyproc._synchronize.typed import new as _new_value
from polyproc._synchronize.typed import typecode_to_type as typecode_to_type
from polyproc._synchronize.typed import Array as Array
from polyproc._synchronize.typed import Synchronized as Synchronized
from polyproc._synchronize.typed import SynchronizedArray as SynchronizedArray
from polyproc._synchronize.typed import SynchronizedBase as SynchronizedBase
from polyproc._synchronize.typed import SynchronizedString as SynchronizedString
from polyproc._synchronize.typed import Value as Value
from polyproc._synchronize.typed import synchronized as synchronized

__all__ = ["Array", "RawArray", "RawValue", "Value", "copy", "synchronized"]
