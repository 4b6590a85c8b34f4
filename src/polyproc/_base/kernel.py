"""The system calls that a new child makes: `os` where that is loaded, else the interpreter's own module behind it.

`os` itself is Python that costs a bare interpreter a tenth of its start. Only for what a child loads before user code.

`read` and `write` are the interpreter's own for everybody: others may have replaced those of `os`, as eventlet does.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False  # a bare name: a child does without `typing`, type checkers know what is meant


if TYPE_CHECKING:
    import os as os
    from typing import Any
elif "os" in sys.modules:
    os = sys.modules["os"]
else:
    try:
        import posix as os
    except ImportError:
        os = __import__("nt")

# What Linux alone has is to be left alone: "posix". So tests on Linux run what other systems do (docs/adr/0045).
PLATFORM = "POLYPROC_PLATFORM"


def variable(name: str) -> str:
    """Return a variable of the environment, "" if it is not set."""
    environ: Any = os.environ
    if type(environ) is dict:  # the interpreter's own: of bytes, on POSIX
        return str(environ.get(name) or environ.get(name.encode(), b"").decode(errors="surrogateescape"))
    return str(environ.get(name, ""))


try:
    from posix import read as read
    from posix import write as write
except ImportError:
    read, write = os.read, os.write
