"""What a child does while it waits for its job."""

from __future__ import annotations

import marshal
import sys

from polyproc._cleanup.exit_sequence import exit_sequence
from polyproc._log import log
from polyproc._process.family import family
from polyproc._process.last_acts import flush_files
from polyproc._process.payload import unmarshal
from polyproc._process.preparation import apply


def rehearse() -> None:
    """Go once through a life that does nothing.

    A forked child spends its time in page faults, the first write to each page that it shares with its template; a
    fresh interpreter in running everything for the first time. A child that waits does so before it has a job.
    """
    before = (family.current, family.parent_facts, family.counter, family.start_method, log.sink)
    ancestors = family.ancestors
    log.sink = None
    process = unmarshal(_REHEARSED)
    apply({})
    process._bootstrap()
    flush_files()
    del sys.modules[__name__ + "ed"]
    family.current, family.parent_facts, family.counter, family.start_method, log.sink = before
    family.ancestors = ancestors
    exit_sequence.started = exit_sequence.exiting = False


# As _process/payload.py packs it: a process whose target is a function of a module that comes along.
_STATE = {"_args": (), "_kwargs": {}, "_config": {"authkey": b""}, "_name": "", "_popen": None}
_CODE = marshal.dumps(compile("def nothing(): pass", __file__, "exec"))
_REHEARSED = marshal.dumps(
    (
        "ForkServerProcess",
        (__name__ + "ed", "nothing"),
        {**_STATE, "_parent_name": "", "_parent_pid": None},
        (__name__ + "ed", __file__, None, _CODE, None),
    )
)
