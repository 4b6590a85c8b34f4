"""What the measured processes run: nothing."""


def nothing() -> None:
    """Do nothing."""
