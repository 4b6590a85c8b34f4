"""The lines between a pool and its workers: over the C core's queues where it is there, else over pipes.

    pool                                                   worker
    Line.send(number, packed)   -- tasks, one queue each -->   end.get()
    Lines.take()                <-- results, one for all --    end.put(result)

A worker that dies leaves nothing locked or half written for the others, and what it had not taken can be taken back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from polyproc._native import native

if TYPE_CHECKING or native:
    from polyproc._pool.core_lines import MOST_BEHIND as MOST_BEHIND
    from polyproc._pool.core_lines import Lines as Lines
    from polyproc._pool.core_lines import pack as pack
else:
    from polyproc._pool.portable_lines import MOST_BEHIND as MOST_BEHIND
    from polyproc._pool.portable_lines import Lines as Lines
    from polyproc._pool.portable_lines import pack as pack
