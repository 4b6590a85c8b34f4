"""The first lines of every program that polyproc starts: run as `python -c`, with `job` given, before any import.

The parent sends the code objects of what each child of ours imports, so that a child neither searches, stats nor
reads some twenty files: that would be a third of its time. The modules are ordinary ones, with their own loaders.
"""

from __future__ import annotations

import marshal
import sys
from _frozen_importlib import ModuleSpec
from _frozen_importlib_external import SourceFileLoader


class Sent(SourceFileLoader):
    """Loads a module of this library from the code that came with the job."""

    def get_code(self, fullname: str) -> Any:
        """Return the code that was sent; later, what every loader returns."""
        entry = sent.pop(fullname, None)
        return super().get_code(fullname) if entry is None else marshal.loads(entry[2])


class SentFinder:
    """Finds what was sent; everything else is found as ever."""

    @staticmethod
    def find_spec(name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        """Return the spec of a module that was sent."""
        if name not in sent:
            return None
        origin, package, _ = sent[name]
        spec = ModuleSpec(name, Sent(name, origin), origin=origin, is_package=package is not None)
        spec.has_location = True
        if package is not None:
            spec.submodule_search_locations = [package]
        return spec


TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    job: dict[str, Any]  # given by the command line: see _launch/spawn.py

sys.path[:] = job["sys_path"]
sent = job.pop("sent")
sys.meta_path.insert(0, SentFinder)
try:
    main = __import__(job["entry"], fromlist=["main"]).main
finally:
    sys.meta_path.remove(SentFinder)
main(job)
