"""The black box: what is stored is read; whatever is in it, reading raises nothing."""

import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polyproc._process.black_box import NONE, NOTHING, PICKLED, Box


def made_box():
    made = Box(-1)
    made.create()
    return made


@pytest.fixture
def box():
    made = made_box()
    yield made
    made.close()


def test_result_counts_from_its_commit(box):
    assert box.result() == (NOTHING, b"")
    box.commit(PICKLED, b"payload")
    assert box.result() == (PICKLED, b"payload")


def test_none_is_stored_with_the_exit_code(box):
    box.kind = NONE
    assert (box.result(), box.exit_code()) == ((NOTHING, b""), None)
    box.note_exit(-1)
    assert (box.result(), box.exit_code()) == ((NONE, b""), 255)


@given(pieces=st.lists(st.binary(max_size=9000), max_size=12))
@settings(max_examples=60, deadline=None)
def test_output_keeps_the_tail(pieces):
    box = made_box()
    for piece in pieces:
        box.keep_output(piece)
    written = b"".join(pieces)
    expected = written if len(written) <= 8192 else written[-8192:].partition(b"\n")[2]
    assert box.output() == expected.decode(errors="replace")
    box.close()


@given(junk=st.binary(max_size=70000), at=st.sampled_from([0, 8, 16, 24, 4096, 16384, 65536]))
@settings(max_examples=60, deadline=None)
def test_junk_is_read_without_an_error(junk, at):
    box = made_box()
    os.pwrite(box.fd, junk, at)
    box.result(), box.exit_code(), box.output(), box.stack()
    box.close()
