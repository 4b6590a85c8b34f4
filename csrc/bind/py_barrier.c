/* Barrier. The algorithm is in core/pp_barrier; the action is run here, so that nothing can come between it and its two sides. */
#include "bind/py_types.h"

#include "core/pp_barrier.h"

#include "core/pp_futex.h"

#define FAST(function) (PyCFunction)(void (*)(void))(function)

typedef struct {
    CellObject base;
    uint32_t parties;
    struct pp_spin guard_spin; /* the other one is learnt from those who wait for each other */
} BarrierObject;

static uint32_t parties_of(CellObject *self) { return ((BarrierObject *)self)->parties; }

/* Barrier(parties, /) */
static PyObject *barrier_new(PyTypeObject *type, PyObject *args, PyObject *names)
{
    (void)names;
    long parties = PyTuple_Size(args) > 0 ? PyLong_AsLong(PyTuple_GetItem(args, 0)) : 0;
    if (parties == -1 && PyErr_Occurred()) {
        return NULL;
    }
    if (parties < 1 || parties > (long)PP_MAX_PARTIES) {
        PyErr_SetString(PyExc_ValueError, "parties must be > 0");
        return NULL;
    }
    CellObject *self = py_cell_make(type, sizeof(struct pp_cell), PP_BARRIER);
    if (self != NULL) {
        ((BarrierObject *)self)->parties = (uint32_t)parties;
        pp_store(&self->cell->barrier.parties, (uint32_t)parties); /* killed here: nobody else has it yet */
    }
    return (PyObject *)self;
}

static PyObject *barrier_adopt(PyObject *type, PyObject *const *args, Py_ssize_t count)
{
    CellObject *self = py_cell_adopt((PyTypeObject *)type, args, count, PP_BARRIER);
    uint32_t parties = self == NULL ? 0 : pp_load(&self->cell->barrier.parties);
    if (self != NULL && (parties < 1 || parties > PP_MAX_PARTIES)) {
        Py_DECREF(self);
        PyErr_SetString(PyExc_ValueError, "there is no whole barrier at this place");
        return NULL;
    }
    if (self != NULL) {
        ((BarrierObject *)self)->parties = parties;
    }
    return (PyObject *)self;
}

static enum pp_answer guard_step(CellObject *self, struct pp_wait *wait, int extra)
{
    (void)extra;
    return pp_barrier_guard(self->chunk, self->cell, wait);
}

/* A wait that another thread can call off, by a byte that both have. */
struct visit {
    struct pp_wait wait; /* the first: a step gets the visit by it */
    const char *called_off;
};

static enum pp_answer wait_step(CellObject *self, struct pp_wait *wait, int extra)
{
    (void)extra;
    const char *called_off = ((struct visit *)wait)->called_off;
    enum pp_answer answer = pp_barrier_wait(self->chunk, self->cell, wait);
    return answer == PP_AGAIN && called_off != NULL && __atomic_load_n(called_off, __ATOMIC_ACQUIRE) ? PP_TIMED_OUT : answer;
}

/* The guard is held by others for a few stores only, so there is no limit. */
static int acquire_guard(CellObject *self)
{
    struct pp_wait wait;
    pp_wait_start(&wait, PP_FOREVER, &((BarrierObject *)self)->guard_spin);
    return py_wait(guard_step, self, &wait, 0) == PP_DONE;
}

/* Take it whatever signal handlers raise, which is raised after what has to be done with it: others would wait for ever. */
static void surely_acquire_guard(CellObject *self)
{
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    while (!acquire_guard(self)) {
        if (type == NULL) {
            PyErr_Fetch(&type, &value, &traceback);
        }
        PyErr_Clear();
    }
    PyErr_Restore(type, value, traceback);
}

/* All have come: run the action, and let all go; the index. None where the barrier was broken meanwhile. */
static PyObject *let_go(CellObject *self, uint32_t generation, uint32_t index, PyObject *action)
{
    PyObject *done = action == Py_None ? Py_NewRef(Py_None) : PyObject_CallObject(action, NULL);
    int opened = 0;
    surely_acquire_guard(self);
    if (done == NULL) {
        (void)pp_barrier_give_up(self->chunk, self->cell, generation, PP_LAST);
    } else {
        opened = pp_barrier_open(self->chunk, self->cell, generation);
    }
    Py_XDECREF(done);
    return PyErr_Occurred() ? NULL : opened ? PyLong_FromUnsignedLong(index) : Py_NewRef(Py_None);
}

/* Too late, or interrupted: those who wait with us would wait for ever. Whether that has broken the generation; else it
 * was over. */
static int give_up(CellObject *self, uint32_t generation, enum pp_arrival arrival)
{
    surely_acquire_guard(self);
    return pp_barrier_give_up(self->chunk, self->cell, generation, arrival) == PP_DONE;
}

static PyObject *come(CellObject *self, struct visit *visit, PyObject *action)
{
    struct pp_wait *wait = &visit->wait;
    for (;;) {
        uint32_t index = 0;
        if (!acquire_guard(self)) {
            return NULL;
        }
        enum pp_arrival arrival = pp_barrier_arrive(self->chunk, self->cell, parties_of(self), &index, wait);
        if (arrival == PP_BROKEN) {
            Py_RETURN_NONE;
        }
        if (arrival == PP_LAST) {
            return let_go(self, wait->seen, index, action);
        }
        int gave_up = py_wait(wait_step, self, wait, 0) != PP_DONE && give_up(self, wait->seen, arrival);
        if (PyErr_Occurred()) {
            return NULL;
        }
        if (arrival == PP_FULL && !gave_up) {
            continue; /* that was somebody else's generation */
        }
        if (gave_up || pp_barrier_was_broken(self->cell, wait->seen)) {
            Py_RETURN_NONE;
        }
        return PyLong_FromUnsignedLong(index);
    }
}

/* _come(timeout, action, called_off) -> index, or None: it is broken. No Python code but the action runs between two steps. */
static PyObject *barrier_come(PyObject *object, PyObject *args)
{
    struct visit visit = {.called_off = NULL};
    PyObject *timeout, *action, *called_off;
    int64_t deadline;
    if (!PyArg_ParseTuple(args, "OOO", &timeout, &action, &called_off) || !py_deadline(timeout, &deadline)) {
        return NULL;
    }
    pp_wait_start(&visit.wait, deadline, &((CellObject *)object)->spin);
    if (called_off == Py_None) {
        return come((CellObject *)object, &visit, action);
    }
    Py_buffer view;
    if (PyObject_GetBuffer(called_off, &view, PyBUF_WRITABLE) < 0) {
        return NULL;
    }
    visit.called_off = view.len < 1 ? NULL : view.buf;
    PyObject *found = come((CellObject *)object, &visit, action);
    PyBuffer_Release(&view);
    return found;
}

/* _call_off(called_off): whoever waits by this byte gives up, as one does whose time is over. */
static PyObject *barrier_call_off(PyObject *object, PyObject *called_off)
{
    Py_buffer view;
    if (PyObject_GetBuffer(called_off, &view, PyBUF_WRITABLE) < 0) {
        return NULL;
    }
    if (view.len > 0) {
        __atomic_store_n((char *)view.buf, 1, __ATOMIC_RELEASE); /* killed here: a byte of this process alone */
    }
    PyBuffer_Release(&view);
    pp_barrier_nudge(((CellObject *)object)->cell);
    Py_RETURN_NONE;
}

static PyObject *barrier_abort(PyObject *object, PyObject *ignored)
{
    (void)ignored;
    CellObject *self = (CellObject *)object;
    if (!acquire_guard(self)) {
        return NULL;
    }
    pp_barrier_abort(self->chunk, self->cell);
    Py_RETURN_NONE;
}

static PyObject *barrier_reset(PyObject *object, PyObject *ignored)
{
    (void)ignored;
    CellObject *self = (CellObject *)object;
    if (!acquire_guard(self)) {
        return NULL;
    }
    pp_barrier_reset(self->chunk, self->cell);
    Py_RETURN_NONE;
}

static PyObject *barrier_broken(PyObject *self, void *ignored)
{
    (void)ignored;
    return PyBool_FromLong(pp_barrier_is_broken(((CellObject *)self)->cell));
}

static PyObject *barrier_waiting(PyObject *self, void *ignored)
{
    (void)ignored;
    return PyLong_FromUnsignedLong(pp_barrier_waiting(((CellObject *)self)->cell, parties_of((CellObject *)self)));
}

static PyObject *barrier_parties(PyObject *self, void *ignored)
{
    (void)ignored;
    return PyLong_FromUnsignedLong(parties_of((CellObject *)self));
}

static PyMethodDef methods[] = {
    {"_come", barrier_come, METH_VARARGS, "_come(timeout, action, called_off) -> index, or None when it is broken"},
    {"_call_off", barrier_call_off, METH_O, "_call_off(called_off)"},
    {"abort", barrier_abort, METH_NOARGS,
     "abort($self, /)\n--\n\n"
     "Break the barrier: all waiters, and those that come later, get BrokenBarrierError."},
    {"reset", barrier_reset, METH_NOARGS,
     "reset($self, /)\n--\n\n"
     "Start anew; waiters get BrokenBarrierError."},
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
    "polyproc._core.Barrier", sizeof(BarrierObject), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE, slots,
};
