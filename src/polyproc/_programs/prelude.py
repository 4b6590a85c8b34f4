"""The first lines of every program that polyproc starts: run as `python -c`, with `job` given, before any import.

The parent sends the code objects of what each child of ours imports, so that a child neither searches, stats nor
reads some twenty files, nor goes through the import system for each: that would be a third of its time. The modules
are ordinary ones, with their own loaders, and come in an order in which each finds what it imports.
"""

import marshal
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    job: dict[str, Any]  # given by the command line: see _start/spawn.py
    scope: dict[str, Any]

sys.path[:] = job["sys_path"]
has_future = "__future__" in sys.modules
if not has_future:
    # Each of ours begins with `from __future__ import annotations`, which searches for a file and runs it.
    sys.modules["__future__"] = type(sys)("__future__")
    sys.modules["__future__"].annotations = None  # type: ignore[attr-defined]
sent = job.pop("sent")
scope = {"__name__": "polyproc._base.modules"}
exec(marshal.loads(sent["polyproc._base.modules"][2]), scope)
for name, entry in sent.items():
    if name not in sys.modules:  # the environment's site may have imported this library
        scope["import_sent"](name, *entry)
if "site" in job:
    scope = {"__name__": "polyproc._programs.siteless"}
    exec(marshal.loads(job["siteless"]), scope)
    scope["stand_in"](job.pop("site"))
if not has_future:
    del sys.modules["__future__"]
__import__(job["entry"], fromlist=["main"]).main(job)
