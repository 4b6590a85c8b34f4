"""coverage with concurrency=multiprocessing: lines that only children run are counted, under each start method."""

import os
import sys
import tempfile
from pathlib import Path

import coverage

PROGRAM = """
import multiprocessing, sys
def child(n):
    if n:
        total = n + 1
        return total
def main(method):
    context = multiprocessing.get_context(method)
    process = context.Process(target=child, args=(3,))
    process.start()
    process.join()
    with context.Pool(1) as pool:
        pool.map(len, ["a"])
        pool.close()
        pool.join()
    print(process.exitcode)
if __name__ == "__main__":
    main(sys.argv[1])
"""


def main(method):
    folder = Path(tempfile.mkdtemp())
    (folder / "program.py").write_text(PROGRAM)
    (folder / ".coveragerc").write_text("[run]\nconcurrency = multiprocessing\nparallel = true\n")
    os.chdir(folder)
    from coverage.cmdline import main as command

    print(command(["run", "--rcfile=.coveragerc", "program.py", method]))
    files = len(list(folder.glob(".coverage.*")))
    print("files", files >= 2)
    print(command(["combine", "--rcfile=.coveragerc", "-q"]))
    data = coverage.CoverageData()
    data.read()
    lines = data.lines(str(folder.resolve() / "program.py")) or []
    print("child's lines", {4, 5, 6} <= set(lines))


if __name__ == "__main__":
    main(sys.argv[1])
