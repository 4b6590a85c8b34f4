"""Whether functions and classes of `__main__` go by reference or by value. Asked for each pickle, so it is cheap.

The answer is known one floor up, where the main module is described: it is handed in here.
"""

from __future__ import annotations

from collections.abc import Callable


class MainPolicy:
    """What is known of our main module. One instance, `main_policy`.

    Attributes:
        by_value: whether nothing of `__main__` can be found by reference in another process.
        some_late: whether main has functions or classes that were defined after its first start of a child.
        late: says whether a name of main may be missing in a child that imported main without its guard.
    """

    def __init__(self) -> None:
        self.by_value = False
        self.some_late = False
        self.late: Callable[[str], bool] | None = None


main_policy = MainPolicy()
