"""Log lines to whoever listens: silent, and free of `logging`, until `_logger` plugs itself in as the sink."""

from __future__ import annotations

TYPE_CHECKING = False  # a bare name: a child does without `typing`, type checkers know what is meant

if TYPE_CHECKING:
    from collections.abc import Callable

    Sink = Callable[[int, str, tuple[object, ...]], None]

NOTSET = 0
SUBDEBUG = 5
DEBUG = 10
INFO = 20
SUBWARNING = 25
WARNING = 30


class Log:
    """Holds the sink. One instance, `log`."""

    def __init__(self) -> None:
        self.sink: Sink | None = None

    def sub_debug(self, msg: str, *args: object) -> None:
        """Log at level 5."""
        if self.sink is not None:
            self.sink(SUBDEBUG, msg, args)

    def debug(self, msg: str, *args: object) -> None:
        """Log at level 10."""
        if self.sink is not None:
            self.sink(DEBUG, msg, args)

    def info(self, msg: str, *args: object) -> None:
        """Log at level 20."""
        if self.sink is not None:
            self.sink(INFO, msg, args)

    def sub_warning(self, msg: str, *args: object) -> None:
        """Log at level 25."""
        if self.sink is not None:
            self.sink(SUBWARNING, msg, args)

    def warn(self, msg: str, *args: object) -> None:
        """Log at level 30."""
        if self.sink is not None:
            self.sink(WARNING, msg, args)


log = Log()
