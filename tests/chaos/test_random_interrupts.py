"""Ctrl-C at random moments, hundreds of times: pools start, deliver and end, and nothing is left or waits for ever."""

import os

import pytest

from conftest import PROGRAMS, needs, run_program

ROUNDS = int(os.environ.get("POLYPROC_ROUNDS", "150"))
KINDS = [
    *(("pool", method) for method in ("fork", "spawn", "forkserver")),
    *(("executor", method) for method in ("fork", "spawn", "forkserver")),
    ("threads", "fork"),
]


def play(kind, method, chance, rounds):
    seed = chance.randrange(2**20)
    command, env = (kind, method, str(seed), str(rounds)), {"PYTHONPATH": str(PROGRAMS.parent)}
    done = run_program("interrupted_at_random.py", *command, timeout=110, env=env)
    assert done.returncode == 0, (seed, done.stdout[-100:], done.stderr[-4000:])
    return int(done.stdout.splitlines()[-1].split()[0])


@needs("/proc")
@pytest.mark.parametrize(("kind", "method"), KINDS)
def test_a_few_interrupts_at_random_moments(kind, method, chance):
    play(kind, method, chance, 12)


@pytest.mark.chaos
@needs("/proc")
@pytest.mark.parametrize(("kind", "method"), KINDS)
def test_interrupts_at_random_moments(kind, method, chance):
    rounds = ROUNDS if method == "fork" else ROUNDS // 3
    assert play(kind, method, chance, rounds) > rounds // 10, "they come when nothing goes on"
