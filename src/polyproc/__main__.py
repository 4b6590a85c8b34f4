"""`python -m polyproc`: see `_cli/command_line.py`."""

from polyproc._cli.command_line import main

if __name__ == "__main__":
    raise SystemExit(main())
