"""Says what a child finds of what the site module does at start; argv: the start method."""

import builtins
import subprocess
import sys

import polyproc


def look():
    here = (
        sys.flags.no_site,
        sys.prefix,
        sys.exec_prefix,
        getattr(sys, "loaded_by_pth", None),
        "sitecustomize" in sys.modules,
        subprocess._args_from_interpreter_flags(),
        sorted({"exit", "quit", "help", "copyright", "credits", "license"} & set(vars(builtins))),
    )
    import site

    return here, site.ENABLE_USER_SITE, site.PREFIXES, repr(exit)


if __name__ == "__main__":
    process = polyproc.get_context(sys.argv[1]).Process(target=look)
    process.start()
    assert process.result(60) == look(), (process.result(), look())
    print("the same")
