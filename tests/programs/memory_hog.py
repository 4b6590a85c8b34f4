"""One of a pool's calls takes more memory than there is."""

import sys

import polyproc


def take(megabytes):
    return len(bytearray(megabytes << 20))


if __name__ == "__main__":
    with polyproc.get_context(sys.argv[1]).Pool(2) as pool:
        results = [pool.apply_async(take, (megabytes,)) for megabytes in (1, 1000, 1, 1)]
        for result in results:
            try:
                print(result.get(60))
            except polyproc.ProcessDied as died:
                print(died.reason, died.signal.name, died.task)
                print(str(died).splitlines()[0].partition(") ")[2])
