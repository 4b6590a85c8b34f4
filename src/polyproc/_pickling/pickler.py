"""The pickler: by reference first, by value where only that works, an error that names the attribute otherwise.

dumps(obj) --> ForkingPickler (C) --fails, or main has changed since--> ByValuePickler (cloudpickle)
                    |                                                          | fails too
                    v                                                          v
                  bytes                                    the first error, with the attribute's path
"""

from __future__ import annotations

import _pickle as pickle  # what is not written in Python
import copyreg
import io
import sys
from _weakref import ref
from types import BuiltinFunctionType, FunctionType, ModuleType, WrapperDescriptorType

from polyproc._base.errors import RemoteTraceback
from polyproc._base.modules import public
from polyproc._base.typing import IO, Any, Callable, cast
from polyproc._pickling import sending
from polyproc._pickling.main_definitions import MAIN, main_definitions

_Reducer = Callable[[Any], Any]
_LARGE = 65536


@public("reduction")
class ForkingPickler(pickle.Pickler):
    """A pickler that knows how to bring descriptors, connections and locks to another process."""

    _extra_reducers: dict[type, _Reducer] = {}
    _copyreg_dispatch = copyreg.dispatch_table

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.dispatch_table: dict[type, _Reducer] = self._copyreg_dispatch.copy()
        self.dispatch_table.update(self._extra_reducers)

    @classmethod
    def register(cls, type: type, reduce: _Reducer) -> None:
        """Register `reduce(obj)` for objects of `type`."""
        cls._extra_reducers[type] = reduce

    @classmethod
    def dumps(cls, obj: object, protocol: int | None = None) -> memoryview:
        """Pickle `obj` to a buffer."""
        return memoryview(dumps(obj, protocol))

    loads: Callable[..., Any] = pickle.loads


loads = pickle.loads


def register(type: type, reduce: _Reducer) -> None:
    """Register `reduce(obj)` for objects of `type` on their way to other processes."""
    ForkingPickler.register(type, reduce)


def dump(obj: object, file: IO[bytes], protocol: int | None = None) -> None:
    """Pickle `obj` to `file`."""
    file.write(dumps(obj, protocol))


def dumps(
    obj: object, protocol: int | None = None, apart: list[memoryview] | None = None, least: int = _LARGE
) -> bytes:
    """Pickle `obj`, by reference where that works.

    Args:
        obj: what to pickle.
        protocol: of pickle; at least 5 with `apart`.
        apart: where to put large buffers, of arrays for example, that are then to be handed to `loads` in this order.
        least: how many bytes are large.

    Raises:
        Exception: the pickler's own error, with a note that names the attribute at fault.
    """
    try:
        return _dumps(obj, protocol, apart, least)
    except (pickle.PicklingError, AttributeError, TypeError):
        from polyproc._pickling.foreign import add_reducers

        if not add_reducers():
            raise
        return _dumps(obj, protocol, apart, least)


def dumps_through(
    obj: object, through: Callable[[], int], protocol: int | None = None, apart: list[memoryview] | None = None
) -> bytes:
    """Pickle a message, which will travel through the descriptor `through()`. If that fails, nothing is kept for it."""
    passage = sending.Passage(through)
    try:
        return sending.while_sending(passage, None, lambda: dumps(obj, protocol, apart))
    except BaseException:
        for kept in passage.kept:
            from polyproc._pickling.in_transit import in_transit

            in_transit.forget(*kept)
        raise


class _LastFunction:
    """The function that was last pickled by reference. One instance, `_last`.

    Attributes:
        known: a reference to it, its module's name and its own, what has to hold if that is main, its pickle; changed
            at once, for other threads.
    """

    def __init__(self) -> None:
        self.known: tuple[Any, ...] = ref(_LastFunction), "", "", None, b""


_last = _LastFunction()


def dumps_function(function: Any) -> bytes:
    """Pickle what workers are to call, perhaps often: as `dumps_to_keep` does, sooner where it goes by reference."""
    if type(function) is FunctionType:
        last, its_module, its_name, watch, data = _last.known
        module, name = function.__module__, function.__qualname__
        if last() is function and its_module is module and its_name is name and (watch is None or watch.holds()):
            scope = sys.modules.get(module)
            if type(scope) is ModuleType and scope.__dict__.get(name) is function:
                return data  # type: ignore[no-any-return]
        if module not in MAIN or main_definitions.goes_by_name(function):
            try:
                data = pickle.dumps(function)  # there is nothing in it to keep
            except Exception:  # noqa: BLE001  (no name leads to it: it goes by value)
                pass
            else:
                watch = main_definitions.watch_of(function)
                if module not in MAIN or watch is not None:
                    _last.known = ref(function), module, name, watch, data
                return data
    if type(function) is BuiltinFunctionType and type(function.__self__) is ModuleType:
        return pickle.dumps(function)
    return dumps_to_keep(function)


class KeptPickle(bytes):
    """A pickle that may be opened any number of times, as long as this object lives: `things` are in it."""

    things: list[Any]

    def __reduce__(self) -> tuple[Any, ...]:
        parcel = sending.parcel()
        if parcel is not None:
            parcel += self.things
        return bytes, (bytes(self),)


def dumps_to_keep(obj: object, protocol: int | None = None, apart: list[memoryview] | None = None) -> bytes:
    """Pickle what will be kept, and sent perhaps more than once: what is in it lives as long as what is returned."""
    things: list[Any] = []
    data = sending.while_sending(None, things, lambda: dumps(obj, protocol, apart))
    if things:
        kept = KeptPickle(data)
        kept.things = things
        return kept
    return data


def _dumps(obj: object, protocol: int | None, apart: list[memoryview] | None, least: int) -> bytes:
    if main_definitions.is_exact:
        return _dumps_by_value(obj, protocol, apart, least, None)
    buffer = io.BytesIO()
    try:
        ForkingPickler(buffer, protocol, True, keeper(apart, least)).dump(obj)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        return _dumps_by_value(obj, protocol, apart, least, error)
    except NotImplementedError as error:  # a pool: it does not go by value, too
        from polyproc._pickling.by_value_pickler import dumps

        _diagnose(error, obj, protocol, dumps)
        raise
    data = buffer.getvalue()
    if _MAIN in data and main_definitions.is_changed_in(data):  # from then on it is exact
        return _dumps_by_value(obj, protocol, apart, least, None)
    return data


_MAIN = b"_main__"  # whatever refers to main has one of its names in it
_MAX_APART = 1000


def keeper(apart: list[memoryview] | None, least: int) -> Callable[[pickle.PickleBuffer], bool] | None:
    """Return what tells a pickler whether a buffer goes into the pickle, and puts it into `apart` if not."""
    if apart is None:
        return None
    apart.clear()

    def stays_in(buffer: pickle.PickleBuffer) -> bool:
        try:
            view = buffer.raw()
        except BufferError:  # not contiguous
            return True
        if view.nbytes < least or (least and len(apart) == _MAX_APART):
            return True
        apart.append(view)
        return False

    return stays_in


def _dumps_by_value(
    obj: object, protocol: int | None, apart: list[memoryview] | None, least: int, first: Exception | None
) -> bytes:
    from polyproc._pickling.by_value_pickler import dumps

    pickler: Callable[..., bytes] = dumps
    try:
        return pickler(obj, protocol, ForkingPickler._extra_reducers, keeper(apart, least))
    except Exception as error:  # noqa: BLE001  (raised again below, or the first one)
        raised = first if first is not None else error
        _diagnose(raised, obj, protocol, pickler)
        raise raised from None


def _diagnose(error: Exception, obj: object, protocol: int | None, pickler: Callable[..., bytes]) -> None:
    from polyproc._pickling.diagnosis import add_diagnosis

    add_diagnosis(error, obj, lambda part: pickler(part, protocol, ForkingPickler._extra_reducers))


# A value that all children of a kind get, the later ones as the first did: a pool's workers.
#
# A child that is a copy of its parent has it already, and need not be sent it: it may be what cannot be pickled. For
# the others it is pickled once, by the thread that starts the first: the thread that starts later ones could not, while
# the module in which something of it is found is still being imported by a thread that waits for the pool.

_LARGEST = 1 << 20  # more is not kept twice


class InheritedValues:
    """The value that this process keeps for its copies. One instance, `inherited_values`."""

    def __init__(self) -> None:
        self.kept: InheritedValue | None = None


inherited_values = InheritedValues()


class InheritedValue:
    """A value that is sent to most children, and found in memory by those whose launcher says so (`finds_kept`)."""

    def __init__(self, value: Any) -> None:
        self.value = value
        self._packed: bytes | None = None
        self._is_to_be_packed = True

    def __reduce__(self) -> tuple[Any, ...]:
        if getattr(sending.current(), "finds_kept", False):
            return _find, ()
        if self._is_to_be_packed:
            self._is_to_be_packed = False
            self._packed = _pack(self.value)
        return (InheritedValue, (self.value,)) if self._packed is None else (_open, (self._packed,))


class _HasDescriptorsError(Exception):
    """The value has descriptors, which each child has to be passed for itself."""


class _AnyChild:
    """Stands for the child being prepared while a pickle for any child is made."""

    method = "spawn"

    def duplicate_for_child(self, fd: int) -> int:
        raise _HasDescriptorsError

    def DupFd(self, fd: int) -> Any:
        raise _HasDescriptorsError


def _pack(value: object) -> bytes | None:
    """Pickle what any child can open; return None if each has to be sent it for itself."""
    child = sending.current()
    sending.set_spawning(_AnyChild())
    try:
        packed: bytes = dumps(value)
    except Exception:  # noqa: BLE001  (if it cannot be pickled at all, that shows when the child itself is)
        return None
    finally:
        sending.set_spawning(child)
    return packed if len(packed) <= _LARGEST else None


def _open(packed: bytes) -> InheritedValue:
    return InheritedValue(loads(packed))


def _find() -> InheritedValue | None:
    return inherited_values.kept


# Exceptions on their way: how one comes to another process as itself.
#
# pickle calls an exception's class with `args` again. That fails where `__init__` takes other arguments than it hands
# to its base class, and where it does not fail it may build another message. Here such an exception is restored as it
# was: made by its built-in base class, given its `args` and attributes, and its own `__init__` is not called. A class
# that says how it is pickled (`__reduce__`, `__reduce_ex__`) is taken at its word first.

_PLAIN = {bool, int, float, complex, str, bytes, type(None)}
_IS_HEAP_TYPE = 1 << 9  # Py_TPFLAGS_HEAPTYPE: made at run time, and not part of the interpreter


def sendable(error: BaseException) -> object:
    """Return what arrives as `error` when it is pickled: `error`, or a form that restores it without its `__init__`.

    Raises:
        BaseException: what pickling or unpickling raised, where neither arrives.
    """
    kind = type(error)
    if not _reduces_as_built_in(kind):
        forms: tuple[object, ...] = (error, _Restored(error))
    elif not isinstance(kind.__init__, WrapperDescriptorType) or isinstance(error, BaseExceptionGroup):
        forms = (_Restored(error), error)
    elif not vars(error) and all(type(arg) in _PLAIN for arg in error.args):
        return error  # most are of this kind: nothing to be tried
    else:
        forms = (error, _Restored(error))
    failure: BaseException | None = None
    for form in forms:
        try:
            if isinstance(loads(dumps(form)), BaseException):
                return form
        except BaseException as why:  # noqa: BLE001  (user code runs: the next form is tried, or it is raised below)
            failure = failure or why
    raise failure or TypeError(f"{kind.__qualname__} unpickles to something that is no exception")


def reason_of(failure: BaseException) -> str:
    """Return a line for the end of an exception's text that says why only the text arrives."""
    lines = [type(failure).__name__]
    try:
        lines[0] += f": {failure}"
        lines += notes_of(failure)
    except BaseException:  # noqa: BLE001  (the user's own, which cannot be shown)
        pass
    return "It arrives as text, since it cannot be pickled: " + "; ".join(lines) + "\n"


@public("pool")
class ExceptionWithTraceback:
    """An exception on its way, with its traceback as text; unpickles to the exception."""

    def __init__(self, error: object, text: str) -> None:
        self.error = error  # or the form of one that is sent
        self.text = text

    def __reduce__(self) -> tuple[Any, ...]:
        return rebuild_exception, (self.error, self.text)


def rebuild_exception(error: BaseException, text: str) -> BaseException:
    """Return the exception, caused by its traceback."""
    error.__cause__ = RemoteTraceback(f'\n"""\n{text}"""')
    return error


def notes_of(error: BaseException) -> list[str]:
    """Return the notes of an exception; none where the user's code does not let them be read."""
    try:
        return [note for note in getattr(error, "__notes__", None) or () if isinstance(note, str)]
    except BaseException:  # noqa: BLE001
        return []


class _Restored:
    """An exception on its way; unpickles to one of the same class, with the same `args` and attributes."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __reduce__(self) -> tuple[Any, ...]:
        error = self.error
        reduced = cast("tuple[Any, ...]", _built_in_base(type(error)).__reduce__(error))
        arguments, state, own = reduced[1], reduced[2:], error.args
        if isinstance(error, BaseExceptionGroup):
            arguments = own = (error.message, [_Restored(part) for part in error.exceptions])
        slots = {name: getattr(error, name) for name in copyreg._slotnames(type(error)) if hasattr(error, name)}  # type: ignore[attr-defined]
        return _restore, (type(error), arguments, own, state[0] if state else None, slots)


def _restore(
    kind: type[BaseException],
    arguments: tuple[Any, ...],
    args: tuple[Any, ...],
    state: dict[str, Any] | None,
    slots: dict[str, Any],
) -> BaseException:
    base = _built_in_base(kind)
    error: BaseException = base.__new__(kind, *arguments)
    try:
        base.__init__(error, *arguments)  # an OSError's errno, a UnicodeError's position
    except TypeError:  # its own `__init__` gave the base class other arguments
        pass
    error.args = args
    if state:
        error.__setstate__(state)
    for name, value in slots.items():
        setattr(error, name, value)
    return error


def _built_in_base(kind: type[BaseException]) -> type[BaseException]:
    while kind.__flags__ & _IS_HEAP_TYPE:
        kind = kind.__base__  # type: ignore[assignment]  # an exception's base has its layout, and is one
    return kind


def _reduces_as_built_in(kind: type[BaseException]) -> bool:
    base = _built_in_base(kind)
    return kind.__reduce__ is base.__reduce__ and kind.__reduce_ex__ is base.__reduce_ex__
