"""The one thing pyproject.toml cannot say: the C core, optional and never silent (see polyproc.native)."""

import os
import sys
from pathlib import Path

from setuptools import Extension, setup

STRICT = os.environ.get("POLYPROC_BUILD") == "strict"
FLAGS = ["-std=gnu11", "-O2", "-fvisibility=hidden", "-Wall", "-Wextra"]

core = Extension(
    "polyproc._core",
    sources=sorted(str(path) for room in ("bind", "core") for path in Path("csrc", room).glob("*.c")),
    depends=sorted(str(path) for path in Path("csrc").glob("*/*.h")),
    include_dirs=["csrc"],
    define_macros=[("Py_LIMITED_API", "0x030b0000")]
    + ([("PP_CRASHPOINTS", "1")] if os.environ.get("POLYPROC_CRASHPOINTS") else []),
    extra_compile_args=FLAGS + (["-Werror"] if STRICT else []),
    py_limited_api=True,
    optional=not STRICT,
)

setup(
    ext_modules=[core] if sys.platform == "linux" else [],
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)
