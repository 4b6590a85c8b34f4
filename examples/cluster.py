"""The demo's real job on three nodes: which did what, and what becomes of it when one is lost.

    python examples/cluster.py                 three agents on this machine, by the engine `command`
    python examples/cluster.py --lose          one of them is killed in the middle
    python examples/cluster.py --engine ray    the nodes of a Ray cluster; a local one is started, if there is none

On your own hosts: --command "ssh {host}" --hosts one,two,three
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from collections import Counter
from concurrent.futures import FIRST_COMPLETED, wait
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "demo"))

from parsing import Measure, find_files, measure_files

import polyproc


def measure_there(paths: list[str]) -> tuple[str, int, Measure]:
    """Do a part of the work; say on which node, and who is its agent."""
    return os.environ["POLYPROC_HOST"], os.getppid(), measure_files(paths)


def run(context: Any, batches: list[list[str]], lose: bool) -> tuple[Counter[str], Measure]:
    """Do all of it, and kill one agent in the middle, if asked for; return who did what, and the result."""
    done: Counter[str] = Counter()
    total = Measure()
    with context.Pool(3) as pool:
        calls = {pool.submit(measure_there, batch): batch for batch in batches}
        while calls:
            for call in wait(calls, return_when=FIRST_COMPLETED).done:
                batch = calls.pop(call)
                try:
                    host, agent, measure = call.result()
                except polyproc.ProcessDied as died:
                    print(f"lost with {died.host}, and done again: {died}", flush=True)
                    calls[pool.submit(measure_there, batch)] = batch
                    continue
                done[host] += 1
                total.add(measure)
                if lose and sum(done.values()) == len(batches) // 4:
                    print(f"killing the agent of {host} (pid {agent})", flush=True)
                    os.kill(agent, signal.SIGKILL)
                    lose = False
        pool.terminate()
        pool.join()
    return done, total


def main() -> int:
    """Run the example."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", default="command")
    parser.add_argument("--command", default="")
    parser.add_argument("--hosts", default="node-1,node-2,node-3")
    parser.add_argument("--files", type=int, default=300, help="at most so many files")
    parser.add_argument("--lose", action="store_true", help="lose a node in the middle")
    options = parser.parse_args()
    files = find_files(options.files)
    batches = [files[start : start + 10] for start in range(0, len(files), 10)]
    expected = measure_files(files)
    told: dict[str, Any] = {"modules": ["parsing"]}
    if options.engine == "command":
        told.update(command=options.command, hosts=options.hosts.split(","))
    begin = time.perf_counter()
    with polyproc.get_context(options.engine, **told) as context:
        done, total = run(context, batches, options.lose)
        seconds = time.perf_counter() - begin
    for host, count in sorted(done.items()):
        print(f"{host}: {count} of {len(batches)} parts")
    print(f"{total.files} files, {total.lines:,} lines, {total.functions:,} functions in {seconds:.1f} s")
    if total != expected:
        print("the result differs from one process's")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
