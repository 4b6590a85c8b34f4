"""Texts for wrong calls: what was given, what is wanted, what to write. Loaded when something is wrong.

Where the standard library has a text, that comes first, and what follows it is ours.
"""

from __future__ import annotations

import sys

from polyproc._base.typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

_LONGEST = 60  # characters of what was given


def shown(value: object) -> str:
    """Return a value as it can be shown, short; whatever its `repr` does."""
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001  (it is another's)
        text = object.__repr__(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


def _written(value: object) -> str:
    """Return a value as code says it; a name where it has no such form."""
    is_plain = isinstance(value, str | bytes | int | float | complex)
    text = shown(value)
    return text if is_plain and not text.endswith("...") else "the_object"


def _as_number(value: object) -> str:
    """Return what to write for a number that came as a string; nothing, where it is none."""
    if isinstance(value, str | bytes | bytearray):
        for kind in (int, float):
            try:
                return f": write {kind(value)!r}"
            except ValueError:
                pass
    return ""


def not_seconds(value: object, text: str = "", name: str = "timeout") -> TypeError:
    """Return the error for seconds that are no number."""
    text = text or f"must be real number, not {type(value).__name__}"
    return TypeError(f"{text}: {name} is a number of seconds or None, and not {shown(value)}{_as_number(value)}")


def not_number(value: object, text: str) -> TypeError:
    """Return the error for what cannot be an item of a shared array or a shared value."""
    if isinstance(value, float):
        return TypeError(f"{text}: of this type code are whole numbers, and not {value!r}; for fractions write 'd'")
    return TypeError(f"{text}: what is shared is a number, and not {shown(value)}{_as_number(value)}")


def not_sent(value: object, text: str) -> TypeError:
    """Return the error for what send_bytes cannot send."""
    return TypeError(f"{text}: send_bytes() sends bytes, and not {shown(value)}; send() sends any object")


def no_size(value: object, text: str) -> TypeError:
    """Return the error for what is no size of a segment."""
    return TypeError(f"{text}: size is a number of bytes, and not {shown(value)}{_as_number(value)}")


def seconds(value: object, name: str) -> None:
    """Raise TypeError unless it is a number of seconds."""
    try:
        0.0 + value  # type: ignore[operator]
    except TypeError:
        raise not_seconds(value, name=name) from None


def whole(value: Any, what: str) -> int:
    """Return a whole number. Raises TypeError, with `what` it is, for all else."""
    try:
        return int(value.__index__())
    except (AttributeError, TypeError):
        text = f"'{type(value).__name__}' object cannot be interpreted as an integer"
        raise TypeError(f"{text}: {what}, and not {shown(value)}{_as_number(value)}") from None


def no_target(value: object) -> TypeError:
    """Return the error for a target that cannot be called."""
    return not_callable(value, "target", "Process(target=a_function, args=(...,))")


def not_callable(value: object, name: str, example: str) -> TypeError:
    """Return the error for what is called and cannot be."""
    text = f"{name} is a function, or another callable, and not {shown(value)}"
    return TypeError(f"'{type(value).__name__}' object is not callable: {text}: write {example}")


def arguments(
    args: Any, name: str = "args", function: Callable[..., object] | None = None, form: str = ""
) -> tuple[Any, ...]:
    """Return positional arguments as a tuple.

    Raises TypeError for what is none, and for a string of which `function` cannot take each character as an argument.
    """
    try:
        if hasattr(args, "put") and hasattr(args, "get"):  # a queue can be gone through: that would never end
            raise TypeError(f"{type(args).__name__!r} object is not iterable")
        made = tuple(args)
    except TypeError as error:
        written = "()" if args is None else f"({_written(args)},)"
        text = f"{error}: {name} is a tuple of arguments, and not {shown(args)}"
        raise TypeError(f"{text}: write {form or name + '='}{written}") from None
    if isinstance(args, str | bytes | bytearray) and not _takes(function, made):
        kind = "string" if isinstance(args, str) else type(args).__name__
        text = f"{name} is a tuple of arguments, and not the {kind} {shown(args)}, which would be {len(made)} arguments"
        raise TypeError(f"{text}: write {form or name + '='}({_written(args)},)")
    return made


def _takes(function: Callable[..., object] | None, args: tuple[Any, ...]) -> bool:
    """Return whether a function may take that many arguments."""
    from inspect import signature

    try:
        signature(function).bind(*args)  # type: ignore[arg-type]
    except TypeError:
        return function is None
    except ValueError:
        pass  # it does not tell
    return True


def keywords(kwargs: Any, name: str = "kwargs") -> dict[str, Any]:
    """Return keyword arguments as a dict. Raises TypeError or ValueError for what is none."""
    try:
        return dict(kwargs)
    except (TypeError, ValueError) as error:
        text = f"{name} is a dict of keyword arguments, and not {shown(kwargs)}"
        raise type(error)(f"{error}: {text}: write {name}={{'a_name': a_value}}") from None


def has_group(given: object) -> str:
    """Return what is said of a first argument of Process that is not None."""
    text = f"group argument must be None for now: it comes first, and {shown(given)} was given for it"
    name = getattr(given, "__name__", "a_function") if callable(given) else "a_function"
    return f"{text}: write Process(target={name}, args=(...,))"


def not_started(text: str, process: Any, call: str) -> str:
    """Return what is said of a call that a process has to be started for."""
    return f"{text}: {process._name} has not been started; call start() before {call}"


def no_signal(process: Any, call: str) -> AttributeError:
    """Return the error for a signal to a process that has not been started."""
    return AttributeError(not_started(f"'NoneType' object has no attribute '{call}'", process, f"{call}()"))


def not_own(text: str, process: Any) -> str:
    """Return what is said of a process that another one has made."""
    from os import getpid

    if process._parent_pid is None:
        return f"{text}: {process._name} is nobody's child"
    where = f"process {process._parent_pid} made {process._name}, and this is process {getpid()}"
    return f"{text}: {where}; only there can this be called"


def is_daemon(process: Any) -> str:
    """Return what is said of a daemon that starts another process."""
    text = "daemonic processes are not allowed to have children"
    return f"{text}: {process._name} is a daemon; make it with daemon=False"


def has_started(process: Any) -> str:
    """Return what is said of an attribute that is set too late."""
    return f"process has already started: set daemon before {process._name} is started, or by Process(..., daemon=True)"


def not_started_here(process: Any) -> str:
    """Return what is said of a start in another process than the one that has made the object."""
    return not_own("can only start a process object created by current process", process)


def chosen_before(text: str, method: str) -> str:
    """Return what is said when the start method is set a second time."""
    one = f"it is {method!r}; to replace it: set_start_method(..., force=True)"
    return f"{text}: {one}; for another one beside it: get_context(...)"


def unknown_method(method: object, known: list[str]) -> ValueError:
    """Return the error for a name that is no start method's."""
    from difflib import get_close_matches

    text = f"cannot find context for {method!r}: the start methods here are {', '.join(map(repr, known))}"
    near = get_close_matches(method, known, 1) if isinstance(method, str) else []
    return ValueError(f"{text}: write {near[0]!r}" if near else text)


def wrong_type_code(given: object, error: TypeError) -> TypeError:
    """Return the error for what is neither a type code nor a ctypes type."""
    near: dict[type | str, str] = {int: "'i' or 'q'", float: "'d'", bool: "ctypes.c_bool", str: "'u'", bytes: "'c'"}
    near |= {"int": "'i'", "float": "'f'", "double": "'d'", "long": "'l'", "char": "'c'", "bool": "ctypes.c_bool"}
    write = near.get(given) if isinstance(given, type | str) else None
    codes = "c, b, B, u, h, H, i, I, l, L, q, Q, f or d"
    if sys.version_info >= (3, 15):
        text = f"bad typecode (must be a ctypes type or one of {codes}): {shown(given)} is neither"
    else:
        text = f"{error}: {shown(given)} is neither a type code, one of {codes}, nor a type of ctypes"
    return TypeError(f"{text}: write {write}" if write else text)


def key(value: Any) -> bytes:
    """Return a key as bytes. Raises TypeError for a string."""
    try:
        return bytes(value)
    except TypeError as error:
        raise TypeError(is_no_key(error)) from None


def is_no_key(text: object) -> str:
    """Return what is said of a key that is no bytes. It does not show the key."""
    return f"{text}: authkey is bytes; write b'...', or encode a str by .encode()"


def wrong_address(error: BaseException, address: object) -> TypeError:
    """Return the error for an address that is none."""
    host_and_port = isinstance(address, tuple) and len(address) == 2
    write = ""
    if host_and_port and isinstance(address[1], str) and address[1].isdigit():  # type: ignore[index]
        write = f": write {(address[0], int(address[1]))!r}"  # type: ignore[index]
    return TypeError(
        f"{error}: an address is (host, port) with a number for the port, or a path, not {address!r}{write}"
    )


def not_waitable(text: str) -> str:
    """Return what is said of an object that cannot be waited for."""
    return f"{text}: what can be waited for has a fileno(), or is a process, an event or a result"


# -- pools -------------------------------------------------------------------------------------------------------------
def workers(value: Any, name: str) -> int:
    """Return a number of workers that is no plain int. Raises TypeError for what is no number."""
    if callable(value):
        hint = f": write initializer={getattr(value, '__name__', 'a_function')}, or submit it"
    elif isinstance(value, str) and not _as_number(value):
        hint = f": for a start method write get_context({value!r})"
    else:
        return whole(value, f"{name} is a number of workers")
    text = f"'{type(value).__name__}' object cannot be interpreted as an integer"
    raise TypeError(f"{text}: {name} is a number of workers, and not {shown(value)}{hint}")


def no_initializer(value: object) -> TypeError:
    """Return the error for an initializer that cannot be called."""
    text = f"initializer must be a callable, and not {shown(value)}"
    return TypeError(f"{text}: write initializer=a_function, initargs=(an_argument,)")


def no_context(value: object, is_executors: bool) -> AttributeError:
    """Return the error for what is given as a context."""
    name, asked = ("mp_context", "get_start_method") if is_executors else ("context", "Process")
    method = repr(value) if isinstance(value, str) else ""
    text = f"'{type(value).__name__}' object has no attribute '{asked}': {name} is a context, and not {shown(value)}"
    return AttributeError(f"{text}: write {name}=polyproc.get_context({method})")


def no_function(value: object, call: str, example: str) -> TypeError:
    """Return the error for a function that is none, in a call of a pool."""
    text = f"'{type(value).__name__}' object is not callable: {call}() takes a function first, and not {shown(value)}"
    return TypeError(f"{text}, which is perhaps what calling it has returned: write {example}")


def no_items(error: object, function: object, iterable: object, call: str) -> TypeError:
    """Return the error for what is no iterable, in a call of a pool."""
    text = f"{error}: {call}() takes a function and an iterable of items"
    if callable(iterable) and not callable(function):
        name = getattr(iterable, "__name__", "a_function")
        return TypeError(f"{text}, in this order: write {call}({name}, {shown(function)})")
    name = getattr(function, "__name__", "a_function")
    written = f": write {call}({name}, [{_written(iterable)}])" if iterable is not None else ""
    return TypeError(f"{text}, and not {shown(iterable)}{written}")


def chunk_size(value: Any, call: str) -> int:
    """Return a chunk size that is no plain int. Raises TypeError for what is none."""
    if hasattr(value, "__iter__") and not isinstance(value, str | bytes):
        text = (
            f"'{type(value).__name__}' object cannot be interpreted as an integer: behind the items of {call}() comes"
        )
        star = call if call.startswith("star") else "starmap"
        raise TypeError(
            f"{text} chunksize, and not {shown(value)}: for several iterables write {star}(function, zip(a, b))"
        )
    return whole(value, "chunksize is how many items go to a worker together")


def check_star_item(function: Callable[..., object], item: Any) -> None:
    """Raise TypeError for an item of starmap that is no tuple of arguments."""
    arguments(item, "each item of starmap", function, "items like ")


def holds_pool(text: str) -> str:
    """Return what is said where a pool or an executor would be pickled."""
    held = "what is sent, or the object whose method is to be called, holds one"
    return f"{text}: {held}; write a function that needs none, or a __getstate__ that leaves it out"


def unknown_option(name: str, known: list[str]) -> TypeError:
    """Return the error for an option that there is not."""
    from difflib import get_close_matches

    text = f"options() got an unexpected keyword argument {name!r}: there are {', '.join(known)}"
    near = get_close_matches(name, known, 1)
    return TypeError(f"{text}: write {near[0]}=..." if near else text)


def no_integer(name: str, value: object) -> TypeError:
    """Return the error for an option that is no whole number."""
    return TypeError(f"{name} must be an integer, and not {shown(value)}{_as_number(value)}")


def no_exceptions(value: object) -> TypeError:
    """Return the error for what retry_on cannot be."""
    write = ""
    if isinstance(value, list):
        names = "".join(f"{getattr(kind, '__name__', kind)}, " for kind in value)
        write = f": write ({names.rstrip()})"
    return TypeError(f"retry_on must be an exception class or a tuple of them, and not {shown(value)}{write}")


def no_task(value: object) -> TypeError:
    """Return the error for what cannot be a task."""
    text = f"'{type(value).__name__}' object is not callable: task() takes a function, and not {shown(value)}"
    return TypeError(
        f"{text}: write @task, or @task(timeout=3); how many workers there are is its pool's: @task(pool=Pool(3))"
    )
