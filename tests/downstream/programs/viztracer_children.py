"""viztracer: what children and the workers of pools ran is in its report, under each start method."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

PROGRAM = """
import multiprocessing, sys
def in_process(): return sum(range(10))
def in_pool(n): return n * 2
if __name__ == "__main__":
    context = multiprocessing.get_context(sys.argv[1])
    for _ in range(2):
        process = context.Process(target=in_process); process.start(); process.join()
    with context.Pool(2) as pool:
        print(process.exitcode, pool.map(in_pool, range(4)))
        pool.close()
        pool.join()
"""


def main(method):
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "program.py").write_text(PROGRAM)
        command = [sys.executable, "-m", "viztracer", "--quiet", "-o", "report.json", "program.py", method]
        done = subprocess.run(command, capture_output=True, text=True, timeout=200, cwd=folder)
        print(done.returncode, done.stdout.splitlines()[:1])  # it may say that it waits for a child
        if done.returncode:
            sys.stderr.write(done.stderr)
        events = json.loads(Path(folder, "report.json").read_text())["traceEvents"]
        print(sorted({name for name in (event["name"].split(" ")[0] for event in events) if name.startswith("in_")}))


if __name__ == "__main__":
    main(sys.argv[1])
