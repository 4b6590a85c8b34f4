/* Latch: what threading.Event is, at a tenth of its cost, for what happens once. */
#include "bind/py_greenlets.h"

#include <limits.h>

#include "bind/py_types.h"
#include "core/pp_futex.h"

enum { OPEN, AWAITED, SET }; /* the word; it is AWAITED from the first waiter on */

typedef struct {
    PyObject_HEAD
    pp_word word;
} LatchObject;

static PyObject *latch_set(PyObject *self, PyObject *ignored)
{
    (void)ignored;
    pp_word *word = &((LatchObject *)self)->word;
    /* Killed here: its waiters are threads of this process. */
    if (pp_exchange(word, SET) == AWAITED) { /* without the GIL, which they need next, on one processor at once */
        Py_BEGIN_ALLOW_THREADS
        pp_futex_wake(word, INT_MAX);
        Py_END_ALLOW_THREADS
    }
    Py_RETURN_NONE;
}

static PyObject *latch_is_set(PyObject *self, PyObject *ignored)
{
    (void)ignored;
    return PyBool_FromLong(pp_load(&((LatchObject *)self)->word) == SET);
}

static PyObject *latch_wait(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    pp_word *word = &((LatchObject *)self)->word;
    struct pp_wait wait;
    int64_t deadline = PP_FOREVER;
    if (!py_wait_argument(args, count, names, &deadline)) {
        return NULL;
    }
    pp_wait_start(&wait, deadline, NULL);
    wait.polls = py_greenlets();
    for (int turns = 0; pp_load(word) != SET; turns++) {
        if (deadline != PP_FOREVER && pp_now() >= deadline) {
            Py_RETURN_FALSE;
        }
        Py_BEGIN_ALLOW_THREADS
        /* Killed here: as above. */
        if (pp_cas(word, OPEN, AWAITED) || pp_load(word) == AWAITED) {
            pp_futex_wait(word, AWAITED, pp_wait_until(&wait));
        }
        Py_END_ALLOW_THREADS
        if (PyErr_CheckSignals() < 0) {
            return NULL;
        }
        if (wait.polls && (wait.polls = py_let_run(turns, deadline)) < 0) {
            return NULL;
        }
    }
    Py_RETURN_TRUE;
}

static PyMethodDef methods[] = {
    {"set", latch_set, METH_NOARGS, "set(): wake all who wait, and all who will"},
    {"is_set", latch_is_set, METH_NOARGS, "is_set() -> bool"},
    {"wait", (PyCFunction)(void (*)(void))latch_wait, METH_FASTCALL | METH_KEYWORDS, "wait(timeout=None) -> bool"},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot slots[] = {{Py_tp_methods, methods}, {0, NULL}};

PyType_Spec py_latch_spec = {"polyproc._core.Latch", sizeof(LatchObject), 0, Py_TPFLAGS_DEFAULT, slots};
