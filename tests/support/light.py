"""A target whose module loads nothing."""

import sys


def modules():
    return " ".join(sys.modules)


def about_me():
    """What the import system says of this module."""
    spec = __spec__
    cached = globals().get("__cached__")  # until 3.14
    said = [__name__, __file__, __package__, cached, type(__loader__).__name__, spec.name, spec.origin, spec.cached]
    return "\n".join(
        [
            *map(str, said),
            str(spec.has_location),
            spec.parent,
            str(sys.modules[__package__].light is sys.modules[__name__]),
        ]
    )
