"""What a main module may hold; run as a script, by -m, from a package, an archive, -c, standard input, a prompt."""

import functools
import sys

import polyproc


class Point:
    def __init__(self, x):
        self.x = x

    def twice(self):
        return Point(self.x * 2)


def make(x):
    return Point(x)


def main(method):
    ctx = polyproc.get_context(method)
    offset = 5

    class Local:
        def method(self):
            return offset

    calls = [
        (make, (3,)),
        (Point(4).twice, ()),
        (lambda x: Point(x + offset), (5,)),
        (functools.partial(make, 7), ()),
        (Local().method, ()),
    ]
    found = []
    for target, args in calls:
        process = ctx.Process(target=target, args=args)
        process.start()
        result = process.result(30)
        found.append(getattr(result, "x", result))
        assert isinstance(result, Point | int), type(result)
    print(found)


if __name__ == "__main__":
    main(sys.argv[1])
