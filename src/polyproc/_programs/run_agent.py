"""The program of an agent, started on a node by an engine: `python -m polyproc._programs.run_agent`."""

from __future__ import annotations

import sys

from polyproc._hosts.agent import main

if __name__ == "__main__":
    module = sys.modules["__main__"]
    module.__spec__ = module.__file__ = None  # its children have another's main module, and none of it
    main()
