/* Barrier. The algorithm is in core/pp_barrier; the action is run by the Python class, between two calls. */
#include "core/pp_barrier.h"

#include "bind/py_types.h"
#include "core/pp_futex.h"

#define FAST(function) (PyCFunction)(void (*)(void))(function)

/* Barrier(parties, /) */
static PyObject *barrier_new(PyTypeObject *type, PyObject *args, PyObject *names)
{
    (void)names;
    long parties = PyTuple_Size(args) > 0 ? PyLong_AsLong(PyTuple_GetItem(args, 0)) : 0;
    if (parties == -1 && PyErr_Occurred()) {
        return NULL;
    }
    if (parties < 1 || parties > 0x7fffffff) {
        PyErr_SetString(PyExc_ValueError, "parties must be > 0");
        return NULL;
    }
    PyCell *self = py_cell_make(type, sizeof(struct pp_cell), PP_BARRIER);
    if (self != NULL) {
        pp_store(&self->cell->max, (uint32_t)parties);
    }
    return (PyObject *)self;
}

static PyObject *barrier_adopt(PyObject *type, PyObject *const *args, Py_ssize_t count)
{
    return (PyObject *)py_cell_adopt((PyTypeObject *)type, args, count, PP_BARRIER);
}

static enum pp_answer guard_step(PyCell *self, struct pp_wait *wait, int extra)
{
    (void)extra;
    return pp_barrier_guard(self->chunk, self->cell, wait);
}

static enum pp_answer wait_step(PyCell *self, struct pp_wait *wait, int extra)
{
    (void)extra;
    return pp_barrier_wait(self->chunk, self->cell, wait);
}

/* The guard is held by others for a few stores only, so there is no limit. */
static int take_guard(PyCell *self)
{
    struct pp_wait wait;
    pp_wait_start(&wait, PP_FOREVER, &self->spins);
    return py_wait(guard_step, self, &wait, 0) == PP_DONE;
}

/* _arrive(timeout) -> (index, None): let go. (index, generation): run the action and _open. None: it is broken. */
static PyObject *barrier_arrive(PyObject *object, PyObject *timeout)
{
    PyCell *self = (PyCell *)object;
    int64_t deadline;
    if (!py_deadline(timeout, &deadline)) {
        return NULL;
    }
    struct pp_wait wait;
    pp_wait_start(&wait, deadline, NULL);
    for (;;) {
        uint32_t index = 0;
        if (!take_guard(self)) {
            return NULL;
        }
        enum pp_arrival arrival = pp_barrier_arrive(self->chunk, self->cell, &index, &wait);
        if (arrival == PP_BROKEN) {
            Py_RETURN_NONE;
        }
        if (arrival == PP_LAST) {
            return Py_BuildValue("kk", (unsigned long)index, (unsigned long)wait.seen);
        }
        enum pp_answer answer = py_wait(wait_step, self, &wait, 0);
        if (answer == PP_DONE && arrival == PP_FULL) {
            continue; /* that was somebody else's generation */
        }
        if (answer == PP_DONE && !pp_barrier_was_broken(self->cell, wait.seen)) {
            return Py_BuildValue("kO", (unsigned long)index, Py_None);
        }
        if (answer != PP_DONE) {
            /* Too late, or interrupted: those who wait with us would wait for ever. */
            PyObject *type, *value, *traceback;
            PyErr_Fetch(&type, &value, &traceback);
            if (take_guard(self)) {
                pp_barrier_abort(self->chunk, self->cell);
            }
            if (type != NULL) {
                PyErr_Restore(type, value, traceback);
            }
            if (PyErr_Occurred()) {
                return NULL;
            }
        }
        Py_RETURN_NONE;
    }
}

static PyObject *barrier_open(PyObject *object, PyObject *generation)
{
    PyCell *self = (PyCell *)object;
    unsigned long number = PyLong_AsUnsignedLong(generation);
    if (PyErr_Occurred() || !take_guard(self)) {
        return NULL;
    }
    pp_barrier_open(self->chunk, self->cell, (uint32_t)number);
    Py_RETURN_NONE;
}

static PyObject *barrier_abort(PyObject *object, PyObject *ignored)
{
    (void)ignored;
    PyCell *self = (PyCell *)object;
    if (!take_guard(self)) {
        return NULL;
    }
    pp_barrier_abort(self->chunk, self->cell);
    Py_RETURN_NONE;
}

static PyObject *barrier_reset(PyObject *object, PyObject *ignored)
{
    (void)ignored;
    PyCell *self = (PyCell *)object;
    if (!take_guard(self)) {
        return NULL;
    }
    pp_barrier_reset(self->chunk, self->cell);
    Py_RETURN_NONE;
}

static PyObject *barrier_broken(PyObject *self, void *ignored)
{
    (void)ignored;
    return PyBool_FromLong(pp_barrier_is_broken(((PyCell *)self)->cell));
}

static PyObject *barrier_waiting(PyObject *self, void *ignored)
{
    (void)ignored;
    return PyLong_FromUnsignedLong(pp_barrier_waiting(((PyCell *)self)->cell));
}

static PyObject *barrier_parties(PyObject *self, void *ignored)
{
    (void)ignored;
    return PyLong_FromUnsignedLong(pp_load(&((PyCell *)self)->cell->max));
}

static PyMethodDef methods[] = {
    {"_arrive", barrier_arrive, METH_O, "_arrive(timeout): come, and wait for the others"},
    {"_open", barrier_open, METH_O, "_open(generation): let all go"},
    {"abort", barrier_abort, METH_NOARGS,
     "abort($self, /)\n--\n\n"
     "Break the barrier: all who wait, and who come later, get BrokenBarrierError."},
    {"reset", barrier_reset, METH_NOARGS,
     "reset($self, /)\n--\n\n"
     "Start anew; who waits gets BrokenBarrierError."},
    {"_where", py_cell_where, METH_NOARGS, "_where() -> (id, offset)"},
    {"_adopt", FAST(barrier_adopt), METH_FASTCALL | METH_CLASS, "_adopt(id, offset) -> handle"},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef attributes[] = {
    {"broken", barrier_broken, NULL, "Whether it is broken.", NULL},
    {"n_waiting", barrier_waiting, NULL, "How many wait.", NULL},
    {"parties", barrier_parties, NULL, "How many it waits for.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_new, barrier_new}, {Py_tp_dealloc, py_cell_dealloc}, {Py_tp_methods, methods},
    {Py_tp_getset, attributes}, {0, NULL},
};

PyType_Spec py_barrier_spec = {
    "polyproc._core.Barrier", sizeof(PyCell), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE, slots,
};
