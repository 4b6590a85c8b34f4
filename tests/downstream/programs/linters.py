"""Commands that work in processes: flake8 -j, pylint -j, sphinx -j, black --workers."""

import subprocess
import sys
import tempfile
from pathlib import Path


def run(folder, name, *args):
    done = subprocess.run([sys.executable, "-m", name, *args], cwd=folder, capture_output=True, text=True)
    print(name, done.returncode, sorted(line for line in done.stdout.splitlines() if "rated" not in line))


def main():
    folder = Path(tempfile.mkdtemp())
    names = [f"module_{n}.py" for n in range(6)]
    for n, name in enumerate(names):
        (folder / name).write_text(f'"""Module {n}."""\nimport os\n\nX = {{  "a":{n} }}\n')
    run(folder, "flake8", "-j", "2", ".")
    run(folder, "pylint", "-j", "2", "--persistent=n", "--disable=all", "--enable=unused-import", *names)
    docs = folder / "docs"
    docs.mkdir()
    (docs / "conf.py").write_text("project = 'p'\n")
    pages = [f"page{n}" for n in range(12)]
    (docs / "index.rst").write_text("Index\n=====\n\n.. toctree::\n\n" + "".join(f"   {page}\n" for page in pages))
    for page in pages:
        (docs / f"{page}.rst").write_text(f"{page}\n======\n\ntext\n")
    run(folder, "sphinx", "-j", "2", "-q", "-b", "html", "docs", "out")
    print(len(list((folder / "out").glob("*.html"))))
    run(folder, "black", "--workers", "2", "-q", ".")
    print((folder / "module_1.py").read_text())


if __name__ == "__main__":
    main()
