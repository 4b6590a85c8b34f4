"""The channels between a pool and its workers: over the C core's queues where it is there, else over pipes.

    pool                                                   worker
    WorkerChannel.send(place, packed)  -- tasks, one queue each -->   end.get()
    Channels.take()                <-- results, one for all --    end.put(result)

A worker that dies leaves nothing locked or half written for the others, and what it had not taken can be taken back.
"""

from __future__ import annotations

from polyproc._base.native import native
from polyproc._base.typing import TYPE_CHECKING

if TYPE_CHECKING or native:
    from polyproc._workers.core_channels import MAX_BEHIND as MAX_BEHIND
    from polyproc._workers.core_channels import Channels as Channels
    from polyproc._workers.core_channels import WorkerChannel as WorkerChannel
    from polyproc._workers.core_channels import pack as pack
else:
    from polyproc._workers.pipe_channels import MAX_BEHIND as MAX_BEHIND
    from polyproc._workers.pipe_channels import Channels as Channels
    from polyproc._workers.pipe_channels import WorkerChannel as WorkerChannel
    from polyproc._workers.pipe_channels import pack as pack
