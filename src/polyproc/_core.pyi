"""The C core as Python sees it: its one reference page."""

CRASHPOINTS: int
"""1 when the crash points of csrc/core/pp_crash.h are compiled in, which is for tests alone."""

def clone_ready() -> int:
    """Say whether `clone_sibling` may be used now.

    Returns:
        0, or an errno value: EBUSY, this process has other threads; ENOSYS, the kernel or the C library lacks what
        is needed; EPERM, this process is the init of a pid namespace.
    """

def clone_sibling() -> tuple[int, int]:
    """Fork a child whose parent is this process's own parent, by clone(2) with CLONE_PARENT.

    The at-fork handlers of `os.register_at_fork` run as they do in `os.fork`; those of pthread_atfork(3) do not.

    Returns:
        (pid, pidfd) in the caller, (0, -1) in the child.

    Raises:
        OSError: as `clone_ready` says, or what clone(2) says (EAGAIN, ENOMEM). Nothing was started.
    """

def set_flag(index: int, value: int, /) -> None:
    """Put a value into `sys.flags`, which Python code cannot change. Raises IndexError where there is no such index."""

def set_name(name: str, /) -> None:
    """Set this process's name, as ps shows it (prctl(2), PR_SET_NAME): the first 15 bytes count."""
