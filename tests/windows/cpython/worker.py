"""Run by Python for Windows: the tests of one class of CPython's, each reported as a line of JSON in a file."""

import faulthandler
import os
import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "conformance"))

import worker

LIMIT = 90.0


class Reporter(worker.Reporter):
    """Ends the process where a test hangs, with the stacks of all threads."""

    def startTest(self, test):
        """Begin its time."""
        super().startTest(test)
        faulthandler.dump_traceback_later(LIMIT, exit=True)

    def stopTest(self, test):
        """End its time."""
        super().stopTest(test)
        faulthandler.cancel_dump_traceback_later()


def main():
    """Load the class, leave out what is done, run the rest."""
    path, module_name, class_name, done = sys.argv[1:5]
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_BINARY)
    module = __import__(module_name, fromlist=["*"])
    if class_name == "?":
        collected = getattr(module, "collected", ())
        for name, value in vars(module).items():
            is_tests = isinstance(value, type) and issubclass(value, unittest.TestCase)
            if is_tests and (value.__module__ == module_name or name in collected):
                os.write(fd, f"{name}\n".encode())
        return
    from test import support

    support.use_resources = ["cpu", "walltime", "network"]
    cls = getattr(module, class_name)
    names = [name for name in unittest.TestLoader().getTestCaseNames(cls) if name not in done.split(",")]
    unittest.TestSuite(map(cls, names)).run(Reporter(fd))


if __name__ == "__main__":
    main()
