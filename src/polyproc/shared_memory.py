"""Public names of `_memory/`: named segments of shared memory."""

from polyproc._base import modules as _modules
from polyproc._memory.segment import SharedMemory as SharedMemory
from polyproc._memory.segment import ShareableList as ShareableList

# Kept for programs that reach inside multiprocessing.
from polyproc._memory.segment import _SHM_NAME_PREFIX as _SHM_NAME_PREFIX
from polyproc._memory.segment import _USE_POSIX as _USE_POSIX

__all__ = ["ShareableList", "SharedMemory"]
_modules.live(__name__, SharedMemory, "_make_filename")
