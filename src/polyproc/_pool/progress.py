"""Progress of a map: a bar by tqdm, or by rich, or a line of text; or a function of the user's that is told."""

from __future__ import annotations

import sys

from polyproc._base.errors import report
from polyproc._base.modules import load
from polyproc._base.typing import Any, Callable, Protocol


class Bar(Protocol):
    """What shows how many are done."""

    def update(self, count: int) -> object:
        """Add `count`."""
        ...

    def close(self) -> None:
        """Leave the bar as it stands."""
        ...


class Progress:
    """The progress of one call, which one thread at a time reports."""

    def __init__(self, how: bool | Callable[[int, int | None], object], total: int | None) -> None:
        self._callback = None if isinstance(how, bool) else how
        self._bar = None if callable(how) else make_bar(total)
        self.total = total
        self.done: int = 0

    def advance(self, count: int) -> None:
        """Count `count` more items as done, successfully or not."""
        self.done += count
        try:
            if self._callback is not None:
                self._callback(self.done, self.total)
            if self._bar is not None:
                self._bar.update(count)
        except BaseException:  # noqa: BLE001  (the user's function, or a closed stream: the results are not touched)
            report("showing the progress of a call failed")
            self._callback = self._bar = None
        if self.done == self.total:
            self.end()

    def end(self) -> None:
        """Show it no more."""
        bar, self._bar = self._bar, None
        if bar is not None:
            bar.close()


def make_bar(total: int | None) -> Bar | None:
    """Return a bar for a terminal or a notebook; None where nobody would see it."""
    notebook = "ipykernel" in sys.modules
    if not notebook and not (sys.stderr is not None and sys.stderr.isatty()):
        return None
    for make in (_tqdm_bar, _RichBar):
        try:
            return make(total)
        except ImportError:
            pass
    return None if notebook else _TextBar(total)


def _tqdm_bar(total: int | None) -> Bar:
    bar: Bar = load("tqdm.auto", "tqdm")(total=total, disable=False)  # type: ignore[operator]
    return bar


class _RichBar:
    def __init__(self, total: int | None) -> None:
        console: Any = load("rich.console", "Console")
        progress: Any = load("rich.progress", "Progress")
        self._progress = progress(console=console(stderr=True))
        self._task = self._progress.add_task("", total=total)
        self._progress.start()

    def update(self, count: int) -> None:
        self._progress.advance(self._task, count)

    def close(self) -> None:
        self._progress.stop()


class _TextBar:
    def __init__(self, total: int | None) -> None:
        self._total = "" if total is None else f" of {total}"
        self._done = 0
        self.update(0)

    def update(self, count: int) -> None:
        self._done += count
        sys.stderr.write(f"\r{self._done}{self._total}")
        sys.stderr.flush()

    def close(self) -> None:
        sys.stderr.write("\n")
