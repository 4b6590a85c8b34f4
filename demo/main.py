"""The main job: two greetings under each start method, then real work on real files, beside the standard library.

    python demo/main.py [--files N]

Every .py file of the standard library is parsed and measured by processes.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from parsing import Measure, find_files, measure_files


def greet(name: str) -> None:
    """The founding document's first demo."""
    print("hello", name, flush=True)


def info(title: str) -> None:
    """Its second: say who one is."""
    text = f"{title}\nmodule name: {__name__}\nppid: {os.getppid()}\npid:  {os.getpid()}\n"
    print(text, flush=True)


def greet_with_info(name: str) -> None:
    """Run in the child."""
    info("function f")
    print("hello", name, flush=True)


def demonstrate(mp: Any, method: str) -> None:
    """Run both greetings under a start method."""
    context = mp.get_context(method)
    print(f"--- {method} ---", flush=True)
    info("main line")
    for target in (greet, greet_with_info):
        process = context.Process(target=target, args=("Robert",))
        process.start()
        process.join()


def run_serially(batches: list[list[str]]) -> tuple[float, Measure]:
    """Do the work in this process; return (seconds, result)."""
    start = time.perf_counter()
    total = Measure()
    for batch in batches:
        total.add(measure_files(batch))
    return time.perf_counter() - start, total


def run_in_processes(
    mp: Any, method: str, batches: list[list[str]], workers: int, progress: Any
) -> tuple[float, Measure]:
    """Do it in a pool of processes; return (seconds, result), the start of the workers included."""
    start = time.perf_counter()
    total = Measure()
    with mp.get_context(method).Pool(workers) as pool:
        for measure in pool.imap_unordered(measure_files, batches):
            total.add(measure)
            progress(len(batches))
    return time.perf_counter() - start, total


def main() -> int:
    """Run the demo."""
    import multiprocessing as standard_library

    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
    from rich.table import Table

    import polyproc

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=None, help="at most so many files")
    options = parser.parse_args()
    console = Console()
    console.print(f"polyproc {polyproc.__version__}, {polyproc.native!r}", soft_wrap=True)
    for method in polyproc.get_all_start_methods():
        demonstrate(polyproc, method)

    workers = len(os.sched_getaffinity(0))
    files = find_files(options.files)
    for path in files:
        Path(path).read_bytes()  # so that the first run does not pay for the disk
    batches = [files[i : i + 25] for i in range(0, len(files), 25)]
    console.print(f"\n{len(files)} files of Python, {workers} processors\n")
    columns = (TextColumn("{task.description:<28}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    rows: list[tuple[str, str, float]] = []
    with Progress(*columns, console=console) as bars:
        bar = bars.add_task("one process", total=1)
        serial, total = run_serially(batches)
        bars.update(bar, completed=1)
        for method in polyproc.get_all_start_methods():
            for name, mp in (("polyproc", polyproc), ("standard library", standard_library)):
                bar = bars.add_task(f"{name}, {method}", total=len(batches))
                seconds, found = run_in_processes(mp, method, batches, workers, lambda _, bar=bar: bars.advance(bar))
                if found != total:
                    console.print(f"{name}, {method}: the result differs from one process's")
                    return 1
                rows.append((name, method, seconds))

    table = Table(title="the same work, start of the workers included")
    for heading in ("", "start method", "seconds", "speed-up over one process"):
        table.add_column(heading, justify="right" if heading[:1] == "s" else "left")
    table.add_row("one process", "", f"{serial:.1f}", "1.00")
    for name, method, seconds in rows:
        table.add_row(name, method, f"{seconds:.1f}", f"{serial / seconds:.2f}")
    console.print(table)
    found_table = Table(title="what was found")
    found_table.add_column("")
    found_table.add_column("", justify="right")
    for label, number in (("files", total.files), ("lines", total.lines), ("functions", total.functions)):
        found_table.add_row(label, f"{number:,}")
    found_table.add_row("not parsed", f"{total.failed:,}")
    names = Counter(total.names).most_common(8)
    found_table.add_row("most used names", ", ".join(f"{name} ({count:,})" for name, count in names))
    console.print(found_table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
