"""The inventory of stores to shared memory finds what is planted, and lets pass what has a point or a sentence."""

import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
import stores  # noqa: E402

FUNCTION = """
static void step(struct pp_queue *queue, struct pp_cell *cell)
{
    struct pp_queue_page *page = queue->page;
%s
}
"""


@pytest.mark.parametrize(
    "planted",
    [
        "    pp_store(&page->swept, 1);",
        "    if (pp_cas(&cell->word, 0, me)) {\n        return 1;\n    }",
        "    page->slot_size = 1;",
        "    cell->max++;",
        "    queue->page->members[i].count |= 2;",
        "    memcpy(at, &jump, sizeof jump);",
        "    __atomic_fetch_add(&page->bump, 1, __ATOMIC_SEQ_CST);",
        '    pp_store(&page->head, 1);\n    pp_store(&page->tail, 2);\n    PP_CRASH_POINT("queue.moved");',
        '    pp_store(&page->head, 1);\n}\nvoid next(void)\n{\n    PP_CRASH_POINT("queue.moved");',
        "    pp_store(&page->head, 1); /* it does not matter */",
        "    /* killed here: this is for another line */\n    look(page);\n    pp_store(&page->head, 1);",
        '    pp_store(&page->head, 1); /* PP_CRASH_POINT("queue.moved") */',
    ],
)
def test_planted_store_is_found(planted):
    assert len(stores.uncovered(FUNCTION % planted)) == 1


@pytest.mark.parametrize(
    "covered",
    [
        '    pp_store(&page->head, 1);\n    PP_CRASH_POINT("queue.moved");',
        '    while (!pp_cas(&page->head, 1, 2)) {\n        look();\n    }\n    PP_CRASH_POINT("queue.moved");',
        "    pp_store(&page->head, 1); /* killed here: nobody reads it */",
        "    pp_store(&page->head, 1); /* killed here: nobody\n                              * reads it */",
        "    /* Nobody has it.\n     * Killed here: it goes with the file. */\n    page->a = 1;\n    page->b = 2;",
        "    pp_store_own(&queue->spins, 1);\n    int a = page->a == 1;\n    local = page->a;",
        "    /* pp_store(&page->head, 1); */",
    ],
)
def test_covered_store_passes(covered):
    assert stores.uncovered(FUNCTION % covered) == []


def test_every_store_of_the_core_has_a_crash_point_or_a_sentence():
    done = subprocess.run([sys.executable, HERE / "stores.py"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
