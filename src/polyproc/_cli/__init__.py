"""The commands: `python -m polyproc`."""
