"""Run the tests of one class of a test module; report each as a line of JSON. Started by harness.py."""

import faulthandler
import json
import os
import signal
import sys
import unittest


class Reporter(unittest.TestResult):
    """Writes what happens to a descriptor, one line each, at once."""

    def __init__(self, fd):
        super().__init__()
        self.fd = fd
        self.failed_subtest = False

    def say(self, test, status, detail=""):
        """Write a line."""
        line = json.dumps({"test": test.id().rpartition(".")[2], "status": status, "detail": detail[-3000:]})
        os.write(self.fd, line.encode() + b"\n")

    def startTest(self, test):
        """Say that a test starts: if nothing follows, it hangs."""
        super().startTest(test)
        self.failed_subtest = False
        self.say(test, "started")

    def addSuccess(self, test):
        """Say so."""
        if not self.failed_subtest:
            self.say(test, "passed")

    def addSubTest(self, test, subtest, err):
        """Note a failed subtest as the test's failure."""
        if err is not None:
            self.failed_subtest = True
            self.say(test, "failed", self._exc_info_to_string(err, test))

    def addError(self, test, err):
        """Say so."""
        self.say(test, "failed", self._exc_info_to_string(err, test))

    addFailure = addError

    def addSkip(self, test, reason):
        """Say so, with the reason."""
        self.say(test, "skipped", reason)

    def addExpectedFailure(self, test, err):
        """Count it as passed, as unittest does."""
        self.say(test, "passed")


def main():
    """Load the class, leave out what is done, run the rest."""
    fd, module_name, class_name, done = int(sys.argv[1]), sys.argv[2], sys.argv[3], set(sys.argv[4].split(","))
    faulthandler.register(signal.SIGUSR2, all_threads=True)
    # A harness in the background of a shell hands on SIGINT as ignored, which fails tests of KeyboardInterrupt.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    module = __import__(module_name, fromlist=["*"])
    if class_name == "?":
        loader = unittest.TestLoader()
        collected = getattr(module, "collected", ())  # of others
        names = {
            name: loader.getTestCaseNames(value)
            for name, value in vars(module).items()
            if isinstance(value, type)
            and issubclass(value, unittest.TestCase)
            and (value.__module__ == module_name or name in collected)
        }
        os.write(fd, json.dumps(names).encode() + b"\n")
        return
    from test import support

    support.use_resources = ["cpu", "walltime", "network"]
    suite = unittest.TestSuite()
    cls = getattr(module, class_name)
    for name in unittest.TestLoader().getTestCaseNames(cls):
        if name not in done:
            suite.addTest(cls(name))
    suite.run(Reporter(fd))


if __name__ == "__main__":
    main()
