/* Semaphore and BoundedSemaphore. The algorithm is in core/pp_semaphore. */
#include "bind/py_types.h"

#include "core/pp_semaphore.h"

#include "core/pp_futex.h"

typedef struct {
    CellObject base;
    struct pp_semaphore semaphore;
} SemaphoreObject;

/* Semaphore(value, bounded, /): the Python classes check and name their arguments. */
static PyObject *semaphore_new(PyTypeObject *type, PyObject *args, PyObject *names)
{
    (void)names;
    long value = 0;
    int bounded = 0;
    if (!PyArg_ParseTuple(args, "li", &value, &bounded)) {
        return NULL;
    }
    if (value < 0 || value > (long)PP_VALUE_MAX) {
        PyErr_SetString(PyExc_ValueError, "semaphore initial value must be >= 0");
        return NULL;
    }
    SemaphoreObject *self = (SemaphoreObject *)py_cell_make(type, pp_semaphore_size((uint32_t)value), PP_SEMAPHORE);
    if (self != NULL) {
        pp_semaphore_make(&self->semaphore, self->base.chunk, self->base.cell, (uint32_t)value, bounded);
    }
    return (PyObject *)self;
}

static PyObject *semaphore_adopt(PyObject *type, PyObject *const *args, Py_ssize_t count)
{
    SemaphoreObject *self = (SemaphoreObject *)py_cell_adopt((PyTypeObject *)type, args, count, PP_SEMAPHORE);
    if (self != NULL && !pp_semaphore_adopt(&self->semaphore, self->base.chunk, self->base.offset)) {
        Py_DECREF(self);
        PyErr_SetString(PyExc_ValueError, "there is no whole semaphore at this place");
        return NULL;
    }
    return (PyObject *)self;
}

static enum pp_answer step(CellObject *self, struct pp_wait *wait, int bracket)
{
    return pp_semaphore_wait(&((SemaphoreObject *)self)->semaphore, bracket, wait);
}

static PyObject *acquire(SemaphoreObject *self, int64_t deadline, int bracket)
{
    enum pp_answer answer = pp_semaphore_try(&self->semaphore, bracket);
    if (answer == PP_AGAIN && deadline > 0) {
        struct pp_wait wait;
        pp_wait_start(&wait, deadline, &self->base.spin);
        answer = py_wait(step, &self->base, &wait, bracket);
        if (answer == PP_FAILED) {
            return NULL;
        }
    }
    pp_store_own(&self->base.recovered, 0);
    if (answer == PP_FAILED) {
        py_failed();
        return NULL;
    }
    if (answer == PP_RECOVERED && py_warn_owner_died(&self->base) < 0) {
        pp_semaphore_release(&self->semaphore, bracket);
        return NULL;
    }
    return PyBool_FromLong(answer == PP_DONE || answer == PP_RECOVERED);
}

static PyObject *release(SemaphoreObject *self, int bracket)
{
    if (pp_semaphore_release(&self->semaphore, bracket) < 0) {
        PyErr_SetString(PyExc_ValueError, PY_RELEASED_TOO_OFTEN);
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *semaphore_acquire(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    int64_t deadline = PP_FOREVER;
    if ((count != 0 || names != NULL) && !py_acquire_arguments(args, count, names, &deadline)) {
        return NULL;
    }
    return acquire((SemaphoreObject *)self, deadline, 0);
}

static PyObject *semaphore_release(PyObject *self, PyObject *ignored)
{
    (void)ignored;
    return release((SemaphoreObject *)self, 0);
}

static PyObject *semaphore_enter(PyObject *self, PyObject *ignored)
{
    (void)ignored;
    return acquire((SemaphoreObject *)self, PP_FOREVER, 1);
}

static PyObject *semaphore_exit(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    (void)args;
    (void)count;
    return release((SemaphoreObject *)self, 1);
}

static PyObject *semaphore_value(PyObject *self, PyObject *ignored)
{
    (void)ignored;
    return PyLong_FromUnsignedLong(pp_semaphore_value(&((SemaphoreObject *)self)->semaphore));
}

static PyObject *semaphore_locked(PyObject *self, PyObject *ignored)
{
    (void)ignored;
    return PyBool_FromLong(pp_semaphore_value(&((SemaphoreObject *)self)->semaphore) == 0);
}

#define FAST(function) (PyCFunction)(void (*)(void))(function)

static PyMethodDef methods[] = {
    {"acquire", FAST(semaphore_acquire), METH_FASTCALL | METH_KEYWORDS,
     "acquire($self, block=True, timeout=None)\n--\n\n"
     "Take a token; wait while there is none, up to `timeout` seconds. Return whether one was taken."},
    {"release", semaphore_release, METH_NOARGS,
     "release($self, /)\n--\n\n"
     "Give a token back, or make one."},
    {"__enter__", semaphore_enter, METH_NOARGS, "acquire(), with a token that comes back if this process dies"},
    {"__exit__", FAST(semaphore_exit), METH_FASTCALL, "release()"},
    {"get_value", semaphore_value, METH_NOARGS,
     "get_value($self, /)\n--\n\n"
     "Return how many tokens are free at this moment."},
    {"locked", semaphore_locked, METH_NOARGS,
     "locked($self, /)\n--\n\n"
     "Return whether no token is free."},
    {"_where", py_cell_where, METH_NOARGS, "_where() -> (id, offset)"},
    {"_adopt", FAST(semaphore_adopt), METH_FASTCALL | METH_CLASS, "_adopt(id, offset) -> handle"},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef attributes[] = {
    {"recovered", py_cell_recovered, NULL, "Whether the last token came from a process that died.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_new, semaphore_new}, {Py_tp_dealloc, py_cell_dealloc}, {Py_tp_methods, methods},
    {Py_tp_getset, attributes}, {0, NULL},
};

PyType_Spec py_semaphore_spec = {
    "polyproc._core.Semaphore", sizeof(SemaphoreObject), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE, slots,
};
