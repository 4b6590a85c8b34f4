"""The child leaves text in buffers; so does the parent, before it starts the child."""

import sys

import polyproc


def child(path):
    sys.stdout.write("child without newline")
    global file
    file = open(path, "w")
    file.write("unflushed by the child")


if __name__ == "__main__":
    sys.stdout.write("parent\n")
    parents = open(sys.argv[2] + ".parent", "w")
    parents.write("unflushed by the parent")
    process = polyproc.get_context(sys.argv[1]).Process(target=child, args=(sys.argv[2],))
    process.start()
    process.join()
    sys.exit(process.exitcode)
