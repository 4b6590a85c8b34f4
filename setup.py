"""What pyproject.toml cannot say: the C core is optional; why it could not be built is recorded, and told at import.

POLYPROC_BUILD=strict: warnings are errors, and so is a core that cannot be built. POLYPROC_BUILD=pure: no core.
"""

import os
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import NamedTuple

from setuptools import Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext
from setuptools.errors import BaseError, CCompilerError

BUILD = os.environ.get("POLYPROC_BUILD", "")
STRICT = BUILD == "strict"
CRASHPOINTS = "POLYPROC_CRASHPOINTS" in os.environ
# With frame pointers profilers see through the core: perf, py-spy, eBPF. They cost nothing that can be measured.
FLAGS = ["-std=gnu11", "-O2", "-fvisibility=hidden", "-fno-omit-frame-pointer", "-Wall", "-Wextra"]
RECORD = "_no_core.txt"  # beside the package's modules: read by polyproc/_native.py
MOST = 4_000  # characters of what a compiler said


class Abi(NamedTuple):
    """What a core is built for: what its sources are told, what its file and the wheel are called."""

    macros: list[tuple[str, str]]
    suffix: str | None  # None: as this interpreter says
    tags: tuple[str, str] | None  # of the interpreter and of the ABI; None: as this interpreter says


def abi_of(version: tuple[int, int], is_free_threaded: bool) -> Abi:
    """Return what to build for, by an interpreter's version: one for all where there is one.

    Without the GIL there is none before 3.15, whose abi3t is also for interpreters that have it.
    """
    if not is_free_threaded:
        return Abi([("Py_LIMITED_API", "0x030b0000")], ".abi3.so", ("cp311", "abi3"))
    if version >= (3, 15):
        return Abi([("Py_TARGET_ABI3T", "0x030f0000")], ".abi3t.so", ("cp315", "abi3.abi3t"))
    return Abi([], None, None)


ABI = abi_of(sys.version_info[:2], bool(sysconfig.get_config_var("Py_GIL_DISABLED")))

core = Extension(
    "polyproc._core",
    sources=sorted(str(path) for room in ("bind", "core") for path in Path("csrc", room).glob("*.c")),
    depends=sorted(str(path) for path in Path("csrc").glob("*/*.h")),
    include_dirs=["csrc"],
    define_macros=ABI.macros + ([("PP_CRASHPOINTS", "1")] if CRASHPOINTS else []),
    extra_compile_args=FLAGS + (["-Werror"] if STRICT else []),
    extra_link_args=[] if CRASHPOINTS else ["-Wl,--strip-all"],
    py_limited_api=False,  # its names are those of `ABI`
)


class BuildCore(build_ext):
    """Build the core; where that fails, put what the compiler said beside the modules, and go on without it."""

    def get_ext_filename(self, name):
        """Return the name that every version knows: from 3.15 on the interpreter's own also says for which machine."""
        path = Path(super().get_ext_filename(name))
        return str(path if ABI.suffix is None else path.with_name(path.name.partition(".")[0] + ABI.suffix))

    def build_extensions(self):
        """Build it, or record why not. All is compiled: a folder `build` may hold what was built for something else."""
        self.force = True
        error = "it was built with POLYPROC_BUILD=pure" if BUILD == "pure" else self._build()
        place = Path(self.get_ext_fullpath("polyproc._core")).parent
        (place / RECORD).unlink(missing_ok=True)  # of an earlier build
        if not error:
            return
        at_sources = [Path("src/polyproc")] if self.editable_mode else []  # to which pip copies what was built
        for folder in [place, *at_sources]:
            for stale in folder.glob("_core.*so"):
                stale.unlink()
        place.mkdir(parents=True, exist_ok=True)
        (place / RECORD).write_text(error[:MOST], encoding="utf-8")
        self.warn(f"the C core was not built; polyproc will run in pure Python\n{error}")
        self.extensions = []
        self.distribution.ext_modules = []

    def _build(self):
        """Return what the compiler said if it failed."""
        with tempfile.TemporaryFile() as said:
            sys.stderr.flush()
            kept = os.dup(2)
            os.dup2(said.fileno(), 2)  # compilers are other programs
            try:
                super().build_extensions()
                error = None
            except (BaseError, CCompilerError, OSError, subprocess.SubprocessError) as caught:
                error = caught
            finally:
                sys.stderr.flush()
                os.dup2(kept, 2)
                os.close(kept)
            said.seek(0)
            output = said.read().decode(errors="replace")
        sys.stderr.write(output)
        if error is not None and STRICT:
            raise error
        return "" if error is None else _errors_in(output) or str(error)


def _errors_in(output):
    """Return the lines of compilers' output that say what is wrong; all, where none does."""
    lines = output.splitlines()
    wrong = [line for line in lines if "error" in line.lower() or "cannot find" in line or "undefined" in line]
    return "\n".join(dict.fromkeys(wrong or lines))


class Wheel(bdist_wheel):
    """A wheel for a platform if it has the core, and else one for any."""

    def get_tag(self):
        """Return the tags: of its core's ABI, where it has one."""
        tags = super().get_tag()
        return tags if ABI.tags is None or not self.distribution.has_ext_modules() else (*ABI.tags, tags[2])

    def run(self):
        """Build first, since a wheel's name depends on what was built."""
        self.run_command("build")
        if not self.distribution.has_ext_modules():
            self.root_is_pure, self.plat_name_supplied = True, False
        self.skip_build = True
        super().run()


if __name__ == "__main__":
    setup(
        ext_modules=[core] if sys.platform == "linux" and BUILD != "pure" else [],
        cmdclass={"build_ext": BuildCore, "bdist_wheel": Wheel},
    )
