"""The pages say what the code does: names and signatures, examples that run, tests that are listed."""

import contextlib
import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

import polyproc

ROOT = Path(__file__).resolve().parent.parent.parent
DOCS = ROOT / "docs"
PAGES = [DOCS / "migration.md", DOCS / "what-happens-when.md", *sorted((DOCS / "reference").glob("*.md"))]
EVERY_PAGE = sorted({*ROOT.glob("*.md"), *DOCS.rglob("*.md"), *ROOT.glob("csrc/*.md")})
FENCE = re.compile(r"^```.*?^```$|`[^`\n]*`", re.MULTILINE | re.DOTALL)

pytestmark = pytest.mark.skipif(not polyproc.native, reason="the pages show the classes of the C core")


def build():
    spec = importlib.util.spec_from_file_location("docs_build", DOCS / "build.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_docs_each_module_has_a_page_that_is_as_the_code():
    done = subprocess.run([sys.executable, str(DOCS / "build.py"), "--check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(PAGES) > len(build().modules()) > 15


def test_docs_each_name_of_a_module_is_on_its_page():
    made = build()
    for place in made.modules():
        page = made.page_of(place).read_text()
        module = importlib.import_module(f"polyproc.{place}".rstrip("."))
        missing = [name for name in module.__all__ if not re.search(rf"^### `{name}\b", page, re.MULTILINE)]
        assert not missing, (place, missing)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_docs_examples_run(page):
    assert page.read_text().count(">>> ") > 2
    command = [sys.executable, "-m", "doctest", "-o", "IGNORE_EXCEPTION_DETAIL", str(page)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr


def test_docs_migration_page_names_what_is_there():
    names = re.findall(r"`(polyproc(?:\.\w+)+)`", (DOCS / "migration.md").read_text())
    assert len(names) > 20
    for name in names:
        found = polyproc
        for part in name.split(".")[1:]:
            with contextlib.suppress(ImportError):
                importlib.import_module(f"{getattr(found, '__name__', '')}.{part}")
            found = getattr(found, part)


def test_docs_list_what_the_standard_library_passes_and_we_do_not():
    folder = ROOT / "tests" / "conformance"
    page = (DOCS / "drop-in.md").read_text()
    for version in ("3.11", "3.12", "3.13", "3.14", "3.15"):
        theirs, ours = ((folder / name / f"{version}.txt").read_text().split("\n") for name in ("standard", "expected"))
        missing = {line.split()[2] for line in set(theirs) - set(ours) if line}
        assert not [name for name in sorted(missing) if f"`{name}`" not in page], version


def anchors(text):
    """Return the anchors that a page's headings have where Markdown is shown."""
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", EVERY_PAGE, ids=lambda page: str(page.relative_to(ROOT)))
def test_docs_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)\n]+)\)", FENCE.sub("", page.read_text())):
        path, _, anchor = target.partition("#")
        if "://" in path:
            continue
        found = (page.parent / path).resolve() if path else page
        assert found.exists(), target
        assert not anchor or anchor in anchors(found.read_text()), target


def test_docs_troubleshooting_quotes_what_is_said():
    """Each heading in backticks is a message; what stands between its `...` is in one of our files."""
    sources = [*(ROOT / "src").rglob("*.py"), *(ROOT / "csrc").rglob("*.c")]
    said = "\n".join(re.sub(r'"\s*\n\s*f?"', "", path.read_text()) for path in sources)
    quoted = re.findall(r"^### `(.*)`$", (DOCS / "troubleshooting.md").read_text(), re.MULTILINE)
    assert len(quoted) > 50
    quoted.remove("'NoneType' object is not subscriptable")  # the interpreter says it
    parts = [(text, part.strip(" :'")) for text in quoted for part in text.split("...")]
    assert [(text, part) for text, part in parts if part not in said] == []


@pytest.mark.parametrize("page", EVERY_PAGE, ids=lambda page: str(page.relative_to(ROOT)))
def test_docs_say_module_and_package(page):
    text = page.read_text()
    assert re.findall(r"\b(?:front )?doors?\b|\brooms\b|\b(?:a|the|this|its) room\b", text, re.IGNORECASE) == []


def test_docs_glossary_has_twenty_terms_at_most():
    terms = re.findall(r"^- \*\*(.+?)\*\*: .*\.$", (DOCS / "glossary.md").read_text(), re.MULTILINE)
    assert terms == sorted(terms)
    assert 10 < len(terms) <= 20


def test_docs_each_page_says_how_its_names_behave():
    """By hand, above the list of names: waits, errors, what a death does. Names of `dummy` are those of other modules."""
    made = build()
    for place in set(made.modules()) - {"dummy", "dummy.connection"}:
        module = importlib.import_module(f"polyproc.{place}".rstrip("."))
        said = made.page_of(place).read_text().partition(made.MARK)[0]
        names = set(made.names_of(place))
        if place != "context":  # a context has the names of the package
            kinds = [getattr(module, name) for name in names]
            plain = [kind for kind in kinds if isinstance(kind, type) and not issubclass(kind, BaseException)]
            names |= {name for kind in plain if place for name, *_ in made.members_of(kind, dict(made.bases_of(kind)))}
        missing = sorted(name for name in names if not re.search(rf"\b{name}\b", said))
        assert missing == [], place
        assert re.search(r"\b(?:die|dies|died|killed|ended)\b", said), place


def test_docs_the_readme_is_a_screen_and_a_half():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 90
