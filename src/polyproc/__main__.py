"""`python -m polyproc`: see `_context/command_line.py`."""

from polyproc._context.command_line import main

if __name__ == "__main__":
    raise SystemExit(main())
