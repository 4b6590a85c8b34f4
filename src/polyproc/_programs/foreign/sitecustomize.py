"""Run by `site` in interpreters that a drop-in process starts by other means than ours: by subprocess, by os.exec.

`drop_in.install()` puts this folder at the head of PYTHONPATH, which they inherit. This makes `multiprocessing` mean
polyproc there too, and then does what would have been done without it.
"""

import os
import sys
from importlib.machinery import PathFinder
from importlib.util import module_from_spec

_folder = os.path.dirname(__file__)
sys.path[:] = [path for path in sys.path if path != _folder]
try:
    import polyproc
except (ImportError, SyntaxError):
    pass  # an interpreter of another environment or version: it is none of our business
else:
    polyproc.install()
_theirs = PathFinder.find_spec("sitecustomize", sys.path)
if _theirs is not None and _theirs.loader is not None:
    sys.modules["sitecustomize"] = module_from_spec(_theirs)
    _theirs.loader.exec_module(sys.modules["sitecustomize"])
