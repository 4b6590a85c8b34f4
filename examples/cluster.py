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
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, wait
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "demo"))

from parsing import Measure, find_files, measure_files

import polyproc


def measure_there(paths: list[str]) -> tuple[str, int, Measure]:
    """Do a part of the work; say on which node, and who is its agent."""
    return os.environ["POLYPROC_HOST"], os.getppid(), measure_files(paths)


def run(
    context: Any, batches: list[list[str]], lose: Callable[[str, int], object] | None = None
) -> tuple[Counter[str], Measure, list[str]]:
    """Do all of it, and lose a node in the middle, if asked for.

    Returns:
        How many parts each host did, the result, and the hosts that were lost with parts of it.
    """
    done: Counter[str] = Counter()
    total = Measure()
    lost: list[str] = []
    with context.Pool(3) as pool:
        calls = {pool.submit(measure_there, batch): batch for batch in batches}
        while calls:
            for call in wait(calls, return_when=FIRST_COMPLETED).done:
                batch = calls.pop(call)
                try:
                    host, agent, measure = call.result()
                except polyproc.ProcessDied as died:
                    print(f"lost with {died.host}, and done again: {died}", flush=True)
                    lost.append(str(died.host))
                    calls[pool.submit(measure_there, batch)] = batch
                    continue
                done[host] += 1
                total.add(measure)
                if lose is not None and sum(done.values()) >= len(batches) // 4:
                    print(f"losing {host}, whose agent is {agent}", flush=True)
                    lose(host, agent)
                    lose = None
        pool.terminate()
        pool.join()
    return done, total, lost


def kill(host: str, agent: int) -> None:
    """Lose a node of this machine."""
    os.kill(agent, signal.SIGKILL)


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
        done, total, _ = run(context, batches, kill if options.lose else None)
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
