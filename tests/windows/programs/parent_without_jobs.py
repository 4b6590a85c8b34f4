"""Starts daemons where the system refuses job objects, one of them busy, says which they are, and sleeps."""

import time

import polyproc
from polyproc._platform import windows_jobs


class Refused:
    """A job that takes nobody."""

    def add(self, process):
        """Refuse."""
        raise PermissionError(13, "Access is denied")


def spin():
    """Be busy."""
    while True:
        pass


if __name__ == "__main__":
    windows_jobs.job = Refused()
    children = [
        polyproc.Process(target=target, args=args, daemon=True) for target, args in ((time.sleep, (60,)), (spin, ()))
    ]
    for child in children:
        child.start()
    print(*(child.pid for child in children), flush=True)
    time.sleep(60)
