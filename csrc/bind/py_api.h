/* Python's API, before any other header, as it asks for. setup.py says which: the limited one of 3.11, that of 3.15 for builds
 * without the GIL (abi3t), or, without the GIL before that, all of this version's. */
#ifndef PY_API_H
#define PY_API_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

/* In abi3t nobody knows what an object begins with, with the GIL or without, this version's or a later one's: there is room
 * for all that we know of, and the module is not loaded where that is not enough (py_head_fits). */
#if defined(Py_TARGET_ABI3T)
#define PY_HEAD_ROOM 48
#define PyObject_HEAD _Alignas(16) char head[PY_HEAD_ROOM];
#else
#define PY_HEAD_ROOM sizeof(PyObject)
#endif

/* Do something alone with an object, as the GIL has it: what else is done so with this object waits. As the GIL, the object
 * is let go wherever Python code runs or the thread waits for something, and there may be several inside of each other. */
#if defined(Py_GIL_DISABLED)
#define PY_ALONE(object, statement)       \
    Py_BEGIN_CRITICAL_SECTION(object);    \
    statement;                            \
    Py_END_CRITICAL_SECTION()
#else
#define PY_ALONE(object, statement) statement
#endif

/* What is made when it is first needed, by whichever thread is first; the others drop theirs. NULL if there is none. */
static inline PyObject *py_first(PyObject **place) { return __atomic_load_n(place, __ATOMIC_ACQUIRE); }

static inline PyObject *py_keep_first(PyObject **place, PyObject *made)
{
    PyObject *before = NULL;
    if (made == NULL) {
        return NULL;
    }
    /* Killed here: it is this process's own. */
    if (!__atomic_compare_exchange_n(place, &before, made, 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) {
        Py_DECREF(made);
        return before;
    }
    return made;
}

#endif
