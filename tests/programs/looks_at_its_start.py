"""Prints what a program can see of how it was started; ends with an error in a function."""

import sys

main = sys.modules["__main__"]
print(sorted((name, repr(value)) for name, value in vars(main).items() if name.startswith("__")))
print(sys.argv, sys.path[0], sys.flags, sys.warnoptions, sys._xoptions, globals() is vars(main))


def fail():
    raise ValueError("the end")


fail()
