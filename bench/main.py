"""What starting a process and sharing an object cost, against the standard library and peers, turn by turn.

    python bench/main.py [--rounds N] [--only WORDS]

Each round runs every contender once, so that all see the same machine. Quoted are ratios: the median of the rounds'
ratios to the standard library. The floor is what the kernel and the interpreter need: os.fork and _exit, or
`python -I -c pass`. A lower ratio is better.
"""

if __name__ == "__main__":
    from runner import main

    raise SystemExit(main())
