"""A whole emulated AArch64 machine with pages of 16 KiB: Debian's kernel and Python, our core, a piece of the tests.

    make arm64                    all of it
    make arm64 TESTS="tour.py"    some words of the names of its steps

It needs gcc-aarch64-linux-gnu, qemu-system-arm, apt and a Debian mirror, and takes minutes: not for `.ci/run`. What was
downloaded stays in build/arm64. The machine is a memory file system that is the kernel's first: no disk, no drivers.
"""

import os
import shutil
import stat
import subprocess
import sys
import threading
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
BUILD = ROOT / "build" / "arm64"
SUITE = "trixie"
MIRROR = os.environ.get("DEBIAN_MIRROR", "http://deb.debian.org/debian")
PACKAGES = ["busybox-static", "python3", "libpython3-dev", "python3-pytest", "python3-cloudpickle"]
KERNEL = "linux-image-arm64-16k"
COMPILER = "aarch64-linux-gnu-gcc"
C_TESTS = ["test_clone", "test_parking", "test_named", "test_sync", "test_queue", "test_threads", "test_handoff"]
LIMIT = 3600  # seconds

# What the machine runs, each with a limit of its own in seconds.
STEPS = [
    ("page size", 60, "python3 -c 'import os; print(os.sysconf(\"SC_PAGESIZE\"), os.uname().machine)'"),
    *[(name, 600, f"/c_tests/{name}") for name in C_TESTS],
    ("doctor", 300, "python3 -m polyproc doctor"),
    *[
        (f"tour.py {method}", 600, f"python3 /polyproc/tests/programs/tour.py {method}")
        for method in ("fork", "spawn", "forkserver")
    ],
    ("test_locks.py", 1200, "python3 -m pytest -x tests/behaviour/test_locks.py"),
    ("test_queues.py", 1200, "python3 -m pytest -x tests/behaviour/test_queues.py"),
    ("test_pool.py", 1200, "python3 -m pytest -x tests/behaviour/test_pool.py"),
]

INIT = """#!/bin/busybox sh
/bin/busybox mkdir -p /proc /sys /dev /tmp /run
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sysfs /sys
/bin/busybox mount -t devtmpfs dev /dev
/bin/busybox mkdir -p /dev/shm /dev/pts
/bin/busybox mount -t tmpfs tmpfs /dev/shm
/bin/busybox mount -t tmpfs tmpfs /tmp
/bin/busybox ip link set lo up
export PATH=/usr/bin:/bin:/usr/sbin:/sbin HOME=/tmp PYTHONDONTWRITEBYTECODE=1 POLYPROC_NATIVE=require PYTHONPATH=/polyproc/src
cd /polyproc
{steps}
echo "the machine has done all"
/bin/busybox poweroff -f
"""


def run(*command, **options):
    """Run a program; what it says is seen."""
    subprocess.run([str(word) for word in command], check=True, **options)


def apt(*arguments, **options):
    """Run apt-get for another architecture and suite than this system's, in folders of its own."""
    folder = BUILD / "apt"
    for name in ("lists/partial", "cache/archives/partial", "etc", "trusted"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / "status").touch()
    key = next(Path("/usr/share/keyrings").glob("debian-archive-keyring.*"))
    (folder / "etc" / "sources.list").write_text(f"deb [signed-by={key}] {MIRROR} {SUITE} main\n")
    settings = {
        "APT::Architecture": "arm64",
        "APT::Architectures": "arm64",
        "APT::Install-Recommends": "false",
        "APT::Sandbox::User": "root",
        "Dir::Etc::SourceList": folder / "etc" / "sources.list",
        "Dir::Etc::SourceParts": "/dev/null",
        "Dir::State::Lists": folder / "lists",
        "Dir::State::Status": folder / "status",
        "Dir::Cache": folder / "cache",
    }
    words = [word for name, value in settings.items() for word in ("-o", f"{name}={value}")]
    run("apt-get", "-q", *words, *arguments, **options)


def download():
    """Get the packages and what they depend on; and the kernel, without what it depends on."""
    kernels = BUILD / "kernel"
    if not list(kernels.glob("*.deb")):
        kernels.mkdir(parents=True, exist_ok=True)
        apt("update")
        apt("install", "--download-only", "--yes", *PACKAGES)
        told = subprocess.run(
            [
                "apt-cache",
                "-o",
                f"Dir::State::Lists={BUILD}/apt/lists",
                "-o",
                "APT::Architecture=arm64",
                "-o",
                f"Dir::Etc::SourceList={BUILD}/apt/etc/sources.list",
                "-o",
                "Dir::Etc::SourceParts=/dev/null",
                "-o",
                f"Dir::State::Status={BUILD}/apt/status",
                "-o",
                f"Dir::Cache={BUILD}/apt/cache",
                "depends",
                KERNEL,
            ],
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        [image] = [line.split()[1] for line in told.splitlines() if line.strip().startswith("Depends: linux-image")]
        apt("download", image, cwd=kernels)


def unpack():
    """Make the root file system; return where the kernel is."""
    root, kernel = BUILD / "root", BUILD / "kernel" / "root"
    for folder in (root, kernel):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    for name in ("bin", "sbin", "lib"):
        (root / "usr" / name).mkdir(parents=True)
        (root / name).symlink_to(f"usr/{name}")
    for package in sorted((BUILD / "apt" / "cache" / "archives").glob("*.deb")):
        run("dpkg-deb", "--fsys-tarfile", package, stdout=(pipe := open(BUILD / "package.tar", "wb")))
        pipe.close()
        run("tar", "--keep-directory-symlink", "-xf", BUILD / "package.tar", "-C", root)
    [image] = (BUILD / "kernel").glob("*.deb")
    run("dpkg-deb", "-x", image, kernel)
    for folder in (
        "usr/share/doc",
        "usr/share/man",
        "usr/share/locale",
        "usr/share/perl",
        "usr/lib/aarch64-linux-gnu/perl-base",
    ):
        shutil.rmtree(root / folder, ignore_errors=True)
    [found] = (kernel / "boot").glob("vmlinuz*")
    return root, found


def build(root):
    """Cross-compile the core for the machine's Python, and the C tests; bring the sources."""
    place = root / "polyproc"
    place.mkdir()
    for name in ("src", "tests", "pyproject.toml"):
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, place / name, ignore=shutil.ignore_patterns("*.so", "__pycache__", "*.egg-info"))
        else:
            shutil.copy(source, place / name)
    (headers,) = (root / "usr" / "include").glob("python3.1?")
    core = sorted((ROOT / "csrc" / "core").glob("*.c"))
    flags = ["-std=gnu11", "-O2", "-Wall", "-Wextra", f"-I{ROOT}/csrc", "-pthread"]
    include: list = [
        f"-I{headers}",
        "-idirafter",
        root / "usr" / "include",
        "-DPy_LIMITED_API=0x030b0000",
        "-DPP_CRASHPOINTS=1",
    ]
    made = place / "src" / "polyproc" / "_core.abi3.so"
    run(
        COMPILER, *flags, *include, "-shared", "-fPIC", *core, *sorted((ROOT / "csrc" / "bind").glob("*.c")), "-o", made
    )
    (root / "c_tests").mkdir()
    for name in C_TESTS:
        run(COMPILER, *flags, "-static", *core, ROOT / "csrc" / "tests" / f"{name}.c", "-o", root / "c_tests" / name)


def write_init(root, wanted):
    """Write what the machine runs first, and last."""
    lines = []
    for name, limit, command in STEPS:
        if not wanted or any(word in name for word in wanted):
            lines.append(
                f'echo "--- {name}"; timeout {limit} {command} && echo "=== {name}: passed" || echo "=== {name}: failed"'
            )
    init = root / "init"
    init.write_text(INIT.format(steps="\n".join(lines)))
    init.chmod(0o755)
    return len(lines)


def pack(root, target):
    """Pack the file system as the kernel wants it: cpio(5), the "new" format."""
    with open(target, "wb") as file:
        entries = [root, *sorted(root.rglob("*"))]
        for number, path in enumerate(entries, 1):
            info = path.lstat()
            name = str(path.relative_to(root))
            if stat.S_ISLNK(info.st_mode):
                data = os.readlink(path).encode()
            else:
                data = path.read_bytes() if stat.S_ISREG(info.st_mode) else b""
            add(file, number, info.st_mode, name, data)
        add(file, 0, 0, "TRAILER!!!", b"")


def add(file, number, mode, name, data):
    """Add an entry."""
    encoded = name.encode() + b"\0"
    fields = (number, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(encoded), 0)
    head = b"070701" + "".join(f"{field:08x}" for field in fields).encode() + encoded
    for part in (head, data):
        file.write(part + b"\0" * (-len(part) % 4))


def start(kernel, memory):
    """Run the machine; return what it said."""
    command = ["qemu-system-aarch64", "-M", "virt", "-cpu", "max,pauth-impdef=on", "-smp", "2", "-m", "3072"]
    command += ["-nic", "none", "-nographic", "-no-reboot", "-kernel", kernel, "-initrd", memory]
    command += ["-append", "console=ttyAMA0 quiet panic=-1 rdinit=/init"]
    said = []
    with subprocess.Popen(
        [str(word) for word in command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, errors="replace"
    ) as machine:
        limit = threading.Timer(LIMIT, machine.kill)
        limit.start()
        for line in machine.stdout:
            print(line, end="", flush=True)
            said.append(line)
        limit.cancel()
    return "".join(said)


def main(wanted):
    """Do all; return 0 if every step passed."""
    for tool in (COMPILER, "qemu-system-aarch64", "apt-get"):
        if shutil.which(tool) is None:
            print(f"{tool} is not there: apt-get install gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-system-arm")
            return 2
    download()
    root, kernel = unpack()
    build(root)
    count = write_init(root, wanted)
    pack(root, BUILD / "root.cpio")
    said = start(kernel, BUILD / "root.cpio")
    passed = said.count(": passed")
    print(f"{passed} of {count} steps passed")
    return 0 if passed == count and "the machine has done all" in said else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
