"""What imports much is done without looking for garbage, and leaves the collector as it was."""

import gc
import threading

import pytest

from polyproc._base.modules import without_collecting


def test_nothing_is_collected_meanwhile_and_the_collector_is_as_it_was():
    assert gc.isenabled()
    assert without_collecting(gc.isenabled) is False
    assert gc.isenabled()
    gc.disable()
    try:
        assert without_collecting(gc.isenabled) is False
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_the_collector_is_as_it_was_after_an_import_that_failed():
    with pytest.raises(ZeroDivisionError):
        without_collecting(lambda: 1 / 0)
    assert gc.isenabled()


def test_beside_other_threads_the_collector_is_left_alone():
    end = threading.Event()
    thread = threading.Thread(target=end.wait)
    thread.start()
    try:
        assert without_collecting(gc.isenabled) is True
    finally:
        end.set()
        thread.join()
