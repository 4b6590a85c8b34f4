"""The standard logger as the sink of `_log`; the only import of `logging`."""

from __future__ import annotations

import atexit
import logging

from polyproc._base.process_state import SUBDEBUG, SUBWARNING, log

LOGGER_NAME = "multiprocessing"  # the standard library's: programs configure it by this name
DEFAULT_LOGGING_FORMAT = "[%(levelname)s/%(processName)s] %(message)s"
logging.addLevelName(SUBDEBUG, "SUBDEBUG")
logging.addLevelName(SUBWARNING, "SUBWARNING")


def _sink(level: int, msg: str, args: tuple[object, ...]) -> None:
    # 3: the caller of log.info, not this function nor log.info.
    logging.getLogger(LOGGER_NAME).log(level, msg, *args, stacklevel=3)


def get_logger() -> logging.Logger:
    """Return the logger used by polyproc, made on the first call; it is named "multiprocessing", as programs expect."""
    logger = logging.getLogger(LOGGER_NAME)
    if log.sink is None:
        logger.propagate = False
        # Ours must be the last lines: logging's own exit function closes the handlers.
        atexit.unregister(logging.shutdown)
        atexit.register(logging.shutdown)
        log.sink = _sink
    return logger


def log_to_stderr(level: int | str | None = None) -> logging.Logger:
    """Make the logger write to the standard error stream, from `level` on if one is given; return the logger."""
    logger = get_logger()
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter(DEFAULT_LOGGING_FORMAT))
    logger.addHandler(handler)
    if level:
        logger.setLevel(level)
    logging_state.to_stderr = True
    return logger


class LoggingState:
    """The settings that make a new child log as its parent does."""

    def __init__(self) -> None:
        self.to_stderr = False

    @property
    def logger(self) -> logging.Logger | None:
        """The logger if it was ever asked for, else None."""
        return None if log.sink is None else logging.getLogger(LOGGER_NAME)

    def capture(self) -> tuple[int, bool] | None:
        """Return (level, to stderr), or None when the logger was never asked for."""
        if log.sink is None:
            return None
        return (logging.getLogger(LOGGER_NAME).getEffectiveLevel(), self.to_stderr)

    def apply(self, state: tuple[int, bool]) -> None:
        """Log from now on as the parent did when `state` was captured."""
        level, to_stderr = state
        logger = log_to_stderr() if to_stderr else get_logger()
        logger.setLevel(level)


logging_state = LoggingState()
