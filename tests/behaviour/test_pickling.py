"""What cannot be pickled is said in start(), with the attribute's path; what can by value, is."""

import gc
import pickle
import sys
import threading
import types
import weakref

import pytest

import polyproc
from polyproc._pickling.main_definitions import main_definitions
from polyproc._pickling.pickler import ForkingPickler, dumps, dumps_function, loads
from support import targets

BY_PICKLE = ["spawn", "forkserver"]


class Client:
    def __init__(self):
        self.options = {"retries": [1, threading.Lock()]}


@pytest.mark.parametrize("method", BY_PICKLE)
def test_error_names_the_attribute_path_and_leaves_the_process_startable(method):
    client = Client()
    process = polyproc.get_context(method).Process(target=targets.echo, args=(1, client))
    with pytest.raises(TypeError, match="cannot pickle '_thread.lock' object") as caught:
        process.start()
    assert any("args[1].options['retries'][1]" in note for note in caught.value.__notes__)
    assert process.pid is None
    client.options.clear()
    process._args = (1,)
    process.start()
    assert process.result(30) == 1


@pytest.mark.parametrize("method", BY_PICKLE)
def test_keyword_arguments_and_closures_are_named_too(method):
    lock = threading.Lock()
    ctx = polyproc.get_context(method)
    for process, path in (
        (ctx.Process(target=targets.add, kwargs={"b": lock}), "kwargs['b']"),
        (ctx.Process(target=lambda: lock), "target.<closure lock>"),
    ):
        with pytest.raises(TypeError) as caught:
            process.start()
        assert any(path in note for note in caught.value.__notes__), caught.value.__notes__


def test_lambdas_closures_and_local_classes_travel(ctx):
    number = 20

    class Local:
        def double(self):
            return number * 2

    def closure(extra):
        return Local().double() + extra

    for target, args, result in ((lambda x: x + 1, (1,), 2), (closure, (2,), 42), (Local().double, (), 40)):
        process = ctx.Process(target=target, args=args)
        process.start()
        assert process.result(30) == result


def test_what_fails_to_unpickle_is_told(ctx, method, capfd):
    if method == "fork":
        pytest.skip("nothing is pickled")
    process = ctx.Process(target=targets.echo, args=(Bomb(),))
    process.start()
    process.join(30)
    assert process.exitcode == 1
    assert isinstance(process.exception(), ZeroDivisionError)
    assert "ZeroDivisionError" in capfd.readouterr().err


class Bomb:
    def __reduce__(self):
        return divmod, (1, 0)


def test_authkey_is_not_pickled_but_at_a_start():
    import pickle

    with pytest.raises(TypeError, match="Pickling an AuthenticationString object is disallowed for security reasons"):
        pickle.dumps(polyproc.current_process().authkey)


class Counter:
    guard = threading.Lock()  # by value, the class could not go

    @classmethod
    def of_class(cls):
        return cls

    @staticmethod
    def of_none():
        return 1

    def of_instance(self):
        return type(self)

    def __private(self):
        return 2

    def private(self):
        return self.__private


@pytest.mark.parametrize("method", [Counter.of_class, Counter.of_none, Counter().of_instance, Counter], ids=repr)
def test_what_a_name_leads_to_goes_by_reference_where_main_cannot_be_imported(monkeypatch, method):
    monkeypatch.setattr(main_definitions, "is_exact", True)
    arrived = loads(dumps(method))
    assert getattr(arrived, "__func__", arrived) is getattr(method, "__func__", method)


def test_a_bound_method_that_no_name_leads_to_goes_by_value(monkeypatch):
    monkeypatch.setattr(main_definitions, "is_exact", True)
    assert loads(dumps(Counter().private()))() == 2


def test_a_registered_reducer_is_asked_where_main_cannot_be_imported(monkeypatch):
    class Kind:
        pass

    monkeypatch.setattr(main_definitions, "is_exact", True)
    monkeypatch.setitem(ForkingPickler._extra_reducers, Kind, lambda obj: (int, (7,)))
    assert loads(dumps([Kind()])) == [7]


def test_what_was_pickled_by_value_is_not_kept():
    """It may be a proxy, whose server waits for its end, or a large array."""

    class Local:
        pass

    gc.disable()
    try:
        thing = Local()
        alive = weakref.ref(thing)
        dumps(thing)
        del thing
        assert alive() is None
    finally:
        gc.enable()


def test_a_function_goes_by_its_name_as_long_as_that_leads_to_it(monkeypatch):
    """It is pickled once for many calls; where it was replaced meanwhile, or renamed, the old name does not go."""
    module = types.ModuleType("made_for_this")
    exec("def act():\n    return 1", vars(module))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    act = module.act
    by_name = dumps_function(act)
    assert dumps_function(act) == by_name
    assert pickle.loads(by_name) is act
    module.act = len
    assert pickle.loads(dumps_function(act))() == 1
    module.act, module.other = len, act
    act.__qualname__ = "other"
    assert pickle.loads(dumps_function(act)) is act
    monkeypatch.delitem(sys.modules, module.__name__)
    assert pickle.loads(dumps_function(act))() == 1
