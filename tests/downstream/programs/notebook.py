"""A notebook in which functions and classes are defined anew while workers run: `notebook.py METHOD`.

With the standard library a fork has the newest definitions only, so a pool is made for each cell there.
"""

import sys

import nbformat
from nbclient import NotebookClient

CELLS = [
    """
import functools
import multiprocessing

IS_OURS = multiprocessing.__file__.endswith("polyproc/__init__.py")
context = multiprocessing.get_context(METHOD if IS_OURS else "fork")
made = []


def workers():
    if not made or not IS_OURS:
        for pool in made:
            pool.terminate()
        made[:] = [context.Pool(2)]
    return made[0]
""",
    """
def step(x):
    return x + 1


def total(x):
    return step(x) * 10


print(workers().map(step, range(3)), workers().map(total, range(3)))
""",
    """
def step(x):
    return x + 100


print(workers().map(step, range(3)), workers().map(total, range(3)))
""",
    """
FACTOR = 3


@functools.lru_cache
def scaled(x):
    return x * FACTOR


print(workers().map(scaled, range(3)), workers().apply(lambda x: scaled(x) + 1, (2,)) if IS_OURS else 7)
""",
    """
class Model:
    def fit(self, x):
        return self, x * FACTOR


model, fitted = workers().apply(Model().fit, (2,))
print(type(model) is Model, fitted)
""",
    """
FACTOR = 5


class Model(Model):
    def fit(self, x):
        self.fitted = super().fit(x)[1], step(x)
        return self


models = workers().map(Model().fit, [1, 2])
print([type(model) is Model for model in models], [model.fitted for model in models])
""",
    """
def send(queue):
    queue.put(Model().fit(3))


queue = context.Queue()
process = context.Process(target=send, args=(queue,))
process.start()
print(queue.get(timeout=60).fitted)
process.join()
print(process.exitcode)
""",
    """
made[0].close()
made[0].join()
""",
]


def main(method):
    """Run the cells, and print what each has printed."""
    notebook = nbformat.v4.new_notebook()
    notebook.cells = [nbformat.v4.new_code_cell(source.strip().replace("METHOD", repr(method))) for source in CELLS]
    NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    for cell in notebook.cells:
        for output in cell.outputs:
            if output.get("name") == "stdout":
                print(output.text, end="")
            elif output.output_type == "error":
                print("\n".join(output.traceback))


if __name__ == "__main__":
    main(sys.argv[1])
