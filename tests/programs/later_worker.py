"""Changes its umask while it has a pool, and looks at workers that come later."""

import os

import polyproc


def umask(_):
    found = os.umask(0)
    os.umask(found)
    return found


if __name__ == "__main__":
    with polyproc.get_context("fork").Pool(1, maxtasksperchild=1) as pool:
        before = pool.apply(umask, (0,))
        os.umask(before ^ 0o77)
        found = [pool.apply(umask, (0,)) for _ in range(3)]
        assert found[-1] == before ^ 0o77, found
