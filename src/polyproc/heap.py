"""Public names of `_memory/block`: anonymous shared bytes."""

from polyproc._memory.block import BufferWrapper as BufferWrapper

# Kept for programs that reach inside multiprocessing.
from polyproc._pickling.sending import assert_spawning as assert_spawning

__all__ = ["BufferWrapper"]
