"""A target whose module loads nothing."""

import sys


def modules():
    return " ".join(sys.modules)
