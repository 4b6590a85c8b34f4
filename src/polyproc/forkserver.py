"""Public names of `_forkserver/fork_server`: the fork server."""

from polyproc._base.typing import Final as _Final
from polyproc._forkserver.fork_server import forkserver as _forkserver
from polyproc._pickling.sending import get_inherited_fds as get_inherited_fds

ensure_running: _Final = _forkserver.ensure_running
set_forkserver_preload: _Final = _forkserver.set_forkserver_preload

__all__ = ["ensure_running", "get_inherited_fds", "set_forkserver_preload"]
