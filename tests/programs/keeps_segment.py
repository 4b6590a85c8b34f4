"""Makes a segment that is to outlive the program, or not, and ends without removing it; argv: how that is said, a name."""

import sys

from polyproc import resource_tracker
from polyproc.shared_memory import SharedMemory

if __name__ == "__main__":
    how, *names = sys.argv[1:]
    if how == "replaced":  # as programs do that know the standard library's tracker
        resource_tracker.register = lambda name, rtype: print("asked", rtype)
        resource_tracker.unregister = lambda name, rtype: None
        if "shared_memory" in resource_tracker._CLEANUP_FUNCS:
            del resource_tracker._CLEANUP_FUNCS["shared_memory"]
    segment = SharedMemory(*names, create=True, size=10, track=how != "untracked")
    print(segment.name)
    if how.startswith("unregistered"):
        resource_tracker.unregister(segment._name, "shared_memory")
    if how == "unregistered, registered":
        resource_tracker.register(segment._name, "shared_memory")
    segment.close()
