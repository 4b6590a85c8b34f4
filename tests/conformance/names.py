"""Compare names and signatures with the standard library's; print what is missing or different. Exit 1 if anything is."""

import inspect
import multiprocessing

import polyproc

NOT_YET = {"Value", "Array", "RawValue", "RawArray"}
# Ours take more, by keyword alone; or tell their types.
MORE = {"set_forkserver_preload", "get_context", "Pool"}


def parameters(value):
    """Return (name, kind, whether it has a default) of each parameter."""
    try:
        signature = inspect.signature(value)
    except (TypeError, ValueError):
        return None
    return [(p.name, p.kind, p.default is not p.empty) for p in signature.parameters.values() if p.name != "self"]


def main():
    """Compare."""
    wrong = [
        f"missing: {name}" for name in multiprocessing.__all__ if name not in NOT_YET and not hasattr(polyproc, name)
    ]
    for name in set(multiprocessing.__all__) & set(polyproc.__all__):
        theirs, ours = getattr(multiprocessing, name), getattr(polyproc, name)
        if not isinstance(theirs, type) and name not in MORE and parameters(theirs) != parameters(ours):
            wrong.append(f"{name}: {inspect.signature(theirs)} there, {inspect.signature(ours)} here")
    for name, theirs in vars(multiprocessing.process.BaseProcess).items():
        ours = getattr(polyproc.Process, name, None)
        if not name.startswith("_") and ours is None:
            wrong.append(f"missing: Process.{name}")
        elif not name.startswith("_") and inspect.isfunction(theirs) and parameters(theirs) != parameters(ours):
            wrong.append(f"Process.{name}: {inspect.signature(theirs)} there, {inspect.signature(ours)} here")
    theirs = [p[0] for p in parameters(multiprocessing.Process.__init__)]
    ours = [p[0] for p in parameters(polyproc.Process.__init__)]
    if theirs != ours:
        wrong.append(f"Process: {theirs} there, {ours} here")
    print("\n".join(wrong))
    return bool(wrong)


if __name__ == "__main__":
    raise SystemExit(main())
