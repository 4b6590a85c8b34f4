"""Peers that are up to no good, for tests."""

import contextlib
import subprocess
import sys

from conftest import PROGRAMS


@contextlib.contextmanager
def hostile(address, what, key=b""):
    """Run a hostile peer meanwhile."""
    command = [sys.executable, str(PROGRAMS / "hostile_peer.py"), repr(address), what, key.hex()]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as peer:
        try:
            yield peer
        finally:
            peer.kill()
