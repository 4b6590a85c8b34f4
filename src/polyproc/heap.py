"""Door to `_memory/block`: anonymous shared bytes."""

from polyproc._memory.buffer_wrapper import BufferWrapper as BufferWrapper

__all__ = ["BufferWrapper"]
