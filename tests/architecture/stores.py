"""The inventory of stores to shared memory: what each leaves behind where its process is killed right after it.

Each store in csrc/core and csrc/bind has either, or this ends with 1 and names it:

    pp_store64(&page->tail, next);            pp_store(&page->swept, slot + 1); /* killed here: why that cannot matter */
    PP_CRASH_POINT("queue.committed");

The crash point comes before the next store. A sentence stands in the store's own lines, or ends on the line above it, and
then is for all stores that follow one another without a line between.
"""

import bisect
import re
import sys
from pathlib import Path

CSRC = Path(__file__).resolve().parent.parent.parent / "csrc"
NEAR = 5  # lines from a store on, in which its crash point stands

_SHARED = "cell|slot|handoff_way|member|queue_page|chunk_page|registry_page"
_POINTER = re.compile(rf"\bstruct (?:pp_)?(?:{_SHARED}) *\*(?:const )?(\w+)")
_ATOMIC = re.compile(
    r"\bpp_(?:store|store64|cas|cas64|or|add|exchange|publish|publish64)\("
    r"|\b__atomic_(?:store|exchange|compare_exchange|fetch_\w+)(?:_n)?\("
)
_COPY = re.compile(r"\bmem(?:cpy|set|move)\((?:at\b|\w*(?:->)?page\b|cell\b|slot\b)")
_SENTENCE = re.compile(r"killed here[^:]{0,40}: \w", re.IGNORECASE)
_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)


class Source:
    """A file: its code without comments, and which lines a sentence is written for."""

    def __init__(self, text: str) -> None:
        starts = [0, *(found.end() for found in re.finditer("\n", text))]
        self.excused: set[int] = set()  # lines that a sentence stands in
        self.above: set[int] = set()  # lines that one ends right above
        for comment in _COMMENT.finditer(text):
            if _SENTENCE.search(" ".join(comment[0].split())):
                first, last = (bisect.bisect(starts, place) - 1 for place in (comment.start(), comment.end() - 1))
                self.excused.update(range(first, last + 1))
                if not text[starts[first] : comment.start()].strip():
                    self.above.add(last + 1)
        self.lines = _COMMENT.sub(lambda comment: re.sub(r"[^\n]", " ", comment[0]), text).split("\n")
        names = "|".join(sorted({"page", *_POINTER.findall("\n".join(self.lines))}))
        self.plain = re.compile(rf"\b(?:{names})->[\w.]+(?:\[[^\]]*\][\w.]*)*\s*(?:[-+|&^]?=(?!=)|\+\+|--)")

    def stores_in(self, line: str) -> list[int]:
        """Return where each store of a line ends."""
        if "static inline" in line or line.startswith("#"):
            return []
        return sorted(found.end() for kind in (_ATOMIC, _COPY, self.plain) for found in kind.finditer(line))


def uncovered(text: str) -> list[int]:
    """Return the lines, from 1 on, of stores that have neither a crash point nor a sentence."""
    source = Source(text)
    found, run = [], -1  # a run: up to which line the sentence above counts
    for number, line in enumerate(source.lines):
        ends = source.stores_in(line)
        if not ends:
            continue
        last = number
        while last + 1 < len(source.lines) and not re.search(r"[;{}]", source.lines[last]):
            last += 1
        if number in source.above or number == run:
            run = last + 1
        elif source.excused.isdisjoint(range(number, last + 1)) and not _has_point(source, number, ends):
            found.append(number + 1)
    return found


def _has_point(source: Source, number: int, ends: list[int]) -> bool:
    """Say whether a crash point comes before the next store and the function's end."""
    if len(ends) > 1:
        return False
    for line in (source.lines[number][ends[0] :], *source.lines[number + 1 : number + NEAR]):
        if "PP_CRASH_POINT(" in line:
            return True
        if line.startswith("}") or source.stores_in(line):
            return False
    return False


def main() -> int:
    """Check all files; say what is missing."""
    wrong = 0
    for path in sorted((*CSRC.glob("core/*.[ch]"), *CSRC.glob("bind/*.[ch]"))):
        if path.name == "pp_atomic.h":
            continue
        for line in uncovered(path.read_text()):
            wrong = 1
            print(f"{path}:{line}: a store without a crash point, and without a sentence `killed here: ...`")
    return wrong


if __name__ == "__main__":
    sys.exit(main())
