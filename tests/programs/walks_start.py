"""Which files run code of ours while a process is started, and while a lock is sent to one: printed as JSON."""

import json
import os
import sys

import polyproc

PACKAGE = os.path.dirname(polyproc.__file__) + os.sep


class Walk:
    """The files of the library whose functions are called, by this thread, between `with` and its end."""

    def __init__(self):
        self.files = []

    def __enter__(self):
        sys.setprofile(self._note)
        return self

    def __exit__(self, *exc):
        sys.setprofile(None)

    def _note(self, frame, event, arg):
        path = frame.f_code.co_filename
        if event == "call" and path.startswith(PACKAGE) and path not in self.files:
            self.files.append(path)

    def names(self):
        return [path.removeprefix(PACKAGE) for path in self.files]


class Edge:
    """Begins or ends a walk as it is pickled."""

    def __init__(self, act):
        self.act = act

    def __reduce__(self):
        self.act()
        return str, ()


def use(_begin, lock, _end):
    with lock:
        pass


def main():
    context = polyproc.get_context(sys.argv[1])
    start, sent = Walk(), Walk()
    for process in (context.Process(target=abs, args=(1,)), context.Process(target=abs, args=(1,))):  # the first loads
        start.files.clear()
        with start:
            process.start()
        process.join()
    args = (Edge(sent.__enter__), context.Lock(), Edge(sent.__exit__))
    child = context.Process(target=use, args=args)
    child.start()
    child.join()
    assert child.exitcode == 0
    print(json.dumps({"start": start.names(), "lock": sent.names()}))


if __name__ == "__main__":
    main()
