"""Write the names of each public module into its page in docs/reference/, from the docstrings: `make docs`.

A page is written by hand down to the line MARK; what follows is made here. With --check nothing is written; exit
status 1 when a page is not what would be written.
"""

import importlib
import inspect
import re
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
SOURCES = HERE.parent / "src" / "polyproc"
MARK = "<!-- What follows is written by `make docs`. -->\n"
KEPT = "# Kept for programs that reach inside multiprocessing."


def modules():
    """Return the name of each public module, '' for the package itself."""
    paths = [*SOURCES.glob("*.py"), *SOURCES.glob("[a-z]*/*.py")]
    names = [".".join(path.relative_to(SOURCES).with_suffix("").parts).removesuffix(".__init__") for path in paths]
    public = ["" if name == "__init__" else name for name in names if not name.startswith("_") or name == "__init__"]
    return sorted(name for name in public if name != "abc" and not name.startswith("popen_"))  # kept, and ports


def page_of(module_name):
    """Return the path of a module's page."""
    return HERE / "reference" / f"{module_name or 'polyproc'}.md"


def names_of(module_name):
    """Return the names that a module has for everybody: not those that it keeps for programs that reach inside."""
    module = importlib.import_module(f"polyproc.{module_name}".rstrip("."))
    if not module_name:
        return sorted(module.__all__)
    source = Path(module.__file__).read_text().partition(KEPT)[0]
    imported = re.findall(r"^from \S+ import \w+ as ([A-Za-z]\w*)$", source, re.MULTILINE)
    return sorted({*imported, *(name for name in module.__all__ if hasattr(module, name))})


def signature_of(value, name):
    """Return how something is called, without types; the name alone of what is not called."""
    if not callable(value) or (isinstance(value, type) and issubclass(value, BaseException)):
        return name
    try:
        parameters = list(inspect.signature(value).parameters.values())
    except (ValueError, TypeError):
        return f"{name}(...)"
    if parameters and parameters[0].name == "self":
        del parameters[0]
    plain = [parameter.replace(annotation=parameter.empty) for parameter in parameters]
    text = str(inspect.Signature(plain))
    return name + re.sub(r" object at 0x[0-9a-f]+", "", text)


def sentence_of(value):
    """Return the first sentence of a docstring."""
    first = (inspect.getdoc(value) or "").partition("\n\n")[0].replace("\n", " ")
    return re.split(r"(?<=[.:]) (?=[A-Z])", first)[0].rstrip(":")


def bases_of(kind):
    """Yield the bases of a class that stand on some page, and the page."""
    for base in kind.__mro__[1:]:
        for module_name in modules():
            module = importlib.import_module(f"polyproc.{module_name}".rstrip("."))
            if module_name and base.__name__ in names_of(module_name) and getattr(module, base.__name__) is base:
                yield base, module_name
                break


def _same(one, other):
    """Say whether two methods of C are one function: `core.direct` gives it to each class anew."""
    return inspect.ismethoddescriptor(one) and one.__doc__ == other.__doc__


def _is_attribute(value):
    """Say whether a member is read and not called: a property, or what C has in place of one."""
    return isinstance(value, property) or inspect.isgetsetdescriptor(value) or inspect.ismemberdescriptor(value)


def members_of(kind, bases):
    """Yield (name, what it is) for the public members of a class that say something, and are not those of `bases`."""
    named_tuple = (tuple,) if issubclass(kind, tuple) else ()
    for name in sorted(dir(kind)):
        value = inspect.getattr_static(kind, name)
        if name.startswith("_") or not (inspect.isroutine(getattr(kind, name)) or _is_attribute(value)):
            continue
        inherited = [inspect.getattr_static(base, name, None) for base in (*bases, *named_tuple)]
        if any(theirs is value or (inspect.ismethoddescriptor(value) and _same(theirs, value)) for theirs in inherited):
            continue
        found = getattr(value, "fget", value) if _is_attribute(value) else getattr(kind, name)
        if found.__doc__ and getattr(found, "__module__", "") not in ("typing", "builtins", "ctypes"):
            yield name, value, found


def lines_of(name, value):
    """Yield the lines of the page about a name."""
    yield f"### `{signature_of(value, name)}`\n"
    if text := sentence_of(value) if callable(value) else "":
        yield f"{text}\n"
    if not isinstance(value, type) or issubclass(value, BaseException):
        return
    bases = dict(bases_of(value))
    is_ours = value.__module__.startswith("polyproc")
    shown = [pair for pair in bases.items() if not (is_ours and pair[1].startswith("dummy"))]  # dict is there, too
    if shown:
        base, module_name = shown[0]
        yield f"Also has the members of [`{base.__name__}`]({module_name}.md).\n"
    if rows := list(members_of(value, bases)):
        yield "| member | |\n|---|---|"
        for member, raw, found in rows:
            called = member if _is_attribute(raw) else signature_of(found, member)
            yield f"| `{called.replace('|', chr(92) + '|')}` | {sentence_of(found)} |"
        yield ""


def written(module_name):
    """Return what a module's page is to be."""
    path = page_of(module_name)
    head = path.read_text().partition(MARK)[0] if path.exists() else f"# {module_name}\n\n"
    module = importlib.import_module(f"polyproc.{module_name}".rstrip("."))
    parts = [line for name in names_of(module_name) for line in lines_of(name, getattr(module, name))]
    return head + MARK + "\n## Names\n\n" + "\n".join(parts).rstrip() + "\n"


def main(arguments):
    """Write the pages, or check them; return the exit status."""
    stale = [name for name in modules() if not page_of(name).exists() or page_of(name).read_text() != written(name)]
    for name in stale:
        if "--check" in arguments:
            print(f"{page_of(name)} is not what `make docs` would write")
        else:
            page_of(name).write_text(written(name))
    return 1 if stale and "--check" in arguments else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
