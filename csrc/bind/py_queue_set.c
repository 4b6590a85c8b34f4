/* QueueSet: what one consumer hears. */
#include "bind/py_queue.h"

#include <stdlib.h>

#include "bind/py_types.h"
#include "core/pp_queue_set.h"

typedef struct {
    PyObject_HEAD
    struct pp_queue_set set;
    PyObject *waker, *queues; /* which keep them */
} QueueSetObject;

/* QueueSet(waker, queues) */
static PyObject *queue_set_new(PyTypeObject *type, PyObject *args, PyObject *names)
{
    PyObject *waker, *queues;
    if (names != NULL || !PyArg_ParseTuple(args, "OO!", &waker, &PyTuple_Type, &queues) || !py_is_queue(waker)) {
        if (!PyErr_Occurred()) {
            PyErr_SetString(PyExc_TypeError, "QueueSet() takes a waker and a tuple of queues");
        }
        return NULL;
    }
    Py_ssize_t count = PyTuple_Size(queues);
    for (Py_ssize_t i = 0; i < count; i++) {
        if (!py_is_queue(PyTuple_GetItem(queues, i))) {
            return NULL;
        }
    }
    QueueSetObject *self = (QueueSetObject *)((allocfunc)PyType_GetSlot(type, Py_tp_alloc))(type, 0);
    if (self == NULL) {
        return NULL;
    }
    self->waker = Py_NewRef(waker);
    self->queues = Py_NewRef(queues);
    self->set.waker = &((QueueObject *)waker)->queue;
    self->set.queues = malloc(((size_t)count + 1) * sizeof *self->set.queues);
    if (self->set.queues == NULL) {
        Py_DECREF((PyObject *)self);
        return PyErr_NoMemory();
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        self->set.queues[i] = &((QueueObject *)PyTuple_GetItem(queues, i))->queue;
    }
    self->set.count = (uint32_t)count;
    return (PyObject *)self;
}

static void queue_set_dealloc(PyObject *object)
{
    QueueSetObject *self = (QueueSetObject *)object;
    PyTypeObject *type = Py_TYPE(object);
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);
    free(self->set.queues);
    Py_XDECREF(self->waker);
    Py_XDECREF(self->queues);
    release(object);
    Py_DECREF(type);
}

static enum pp_answer await_step(CellObject *base, struct pp_wait *wait, int extra)
{
    (void)base;
    (void)extra;
    return pp_queue_set_await((struct pp_set_wait *)wait);
}

/* A queue with a record that there was no memory for; NULL for none. */
static QueueObject *has_taken(QueueSetObject *self)
{
    for (uint32_t i = 0; py_taken_ever() && i <= self->set.count; i++) {
        PyObject *queue = i == self->set.count ? self->waker : PyTuple_GetItem(self->queues, (Py_ssize_t)i);
        if (py_taken_is_there((QueueObject *)queue)) {
            return (QueueObject *)queue;
        }
    }
    return NULL;
}

/* The queue that has the record which is to be taken next, NULL for none. */
static QueueObject *next_queue(QueueSetObject *self)
{
    QueueObject *taken = has_taken(self);
    if (taken != NULL) {
        return taken;
    }
    int64_t place = pp_queue_set_next(&self->set);
    if (place < 0) {
        return NULL;
    }
    return (QueueObject *)(place == (int64_t)self->set.count ? self->waker : PyTuple_GetItem(self->queues, (Py_ssize_t)place));
}

/* Take records as long as there are some, up to `most`. One that cannot be taken now is told of when it is the first. */
static PyObject *records_of(QueueSetObject *self, QueueObject *first, Py_ssize_t most)
{
    PyObject *found = PyList_New(most); /* all of it, so that there is room for what was taken */
    Py_ssize_t count = 0;
    for (QueueObject *queue = first; found != NULL && queue != NULL; queue = count < most ? next_queue(self) : NULL) {
        PyObject *record = py_queue_get_oldest(queue, -1);
        if (record == NULL && count > 0 && PyErr_ExceptionMatches(PyExc_Exception)) {
            PyErr_Clear();
            break;
        }
        if (record == NULL) {
            Py_CLEAR(found);
        } else {
            PyList_SetItem(found, count++, record);
        }
    }
    if (found != NULL && PyList_SetSlice(found, count, most, NULL) < 0) { /* without memory: what was taken is not lost */
        PyErr_Clear();
        while (count < most) {
            PyList_SetItem(found, count++, Py_NewRef(Py_None));
        }
    }
    return found;
}

/* get_records(timeout, most) -> [(tag, kind, data, slot), ...], and None behind them without memory */
static PyObject *queue_set_get_records(PyObject *object, PyObject *args)
{
    QueueSetObject *self = (QueueSetObject *)object;
    QueueObject *waker = (QueueObject *)self->waker, *first;
    PyObject *timeout;
    Py_ssize_t most;
    struct pp_set_wait waits;
    int64_t deadline;
    if (!PyArg_ParseTuple(args, "On", &timeout, &most) || !py_deadline(timeout, &deadline)) {
        return NULL;
    }
    while ((first = next_queue(self)) == NULL) {
        waits.set = &self->set;
        pp_wait_start(&waits.wait, deadline, &waker->queue.get_spins);
        enum pp_answer answer = py_wait(await_step, &waker->base, &waits.wait, 0);
        if (answer == PP_TIMED_OUT) {
            return PyList_New(0);
        }
        if (answer != PP_DONE) {
            return py_queue_refuse(answer, "Empty");
        }
    }
    return records_of(self, first, most);
}

static PyObject *queue_set_has_items(PyObject *self, PyObject *ignored)
{
    (void)ignored;
    return PyBool_FromLong(pp_queue_set_has_items(&((QueueSetObject *)self)->set) || has_taken((QueueSetObject *)self) != NULL);
}

/* -- lending: methods of a queue -- */

PyObject *py_queue_lend(PyObject *object, PyObject *ignored)
{
    (void)ignored;
    QueueObject *self = (QueueObject *)object;
    if (!py_queue_usable(self)) {
        return NULL;
    }
    return PyLong_FromUnsignedLong(pp_queue_lend(&self->queue));
}

PyObject *py_queue_call_in(PyObject *object, PyObject *wakes)
{
    QueueObject *self = (QueueObject *)object;
    return py_queue_usable(self) ? PyBool_FromLong(pp_queue_call_in(&self->queue, wakes == Py_True)) : NULL;
}

static enum pp_answer lent_step(CellObject *base, struct pp_wait *wait, int extra)
{
    (void)extra;
    return pp_queue_await_lent(&((QueueObject *)base)->queue, (struct pp_lent_wait *)wait);
}

PyObject *py_queue_await_lent(PyObject *object, PyObject *time)
{
    QueueObject *self = (QueueObject *)object;
    struct pp_lent_wait wait = {.time = (uint32_t)PyLong_AsUnsignedLong(time)};
    if (PyErr_Occurred() || !py_queue_usable(self)) {
        return NULL;
    }
    pp_wait_start(&wait.wait, PP_FOREVER, &self->queue.get_spins);
    enum pp_answer answer = py_wait(lent_step, &self->base, &wait.wait, 0);
    return answer == PP_FAILED ? NULL : PyBool_FromLong(answer == PP_DONE);
}

static PyMethodDef methods[] = {
    {"get_records", queue_set_get_records, METH_VARARGS, "get_records(timeout, most) -> [(tag, kind, data, slot), ...]"},
    {"has_items", queue_set_has_items, METH_NOARGS, "has_items() -> bool"},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_new, queue_set_new}, {Py_tp_dealloc, queue_set_dealloc}, {Py_tp_methods, methods}, {0, NULL},
};

PyType_Spec py_queue_set_spec = {"polyproc._core.QueueSet", sizeof(QueueSetObject), 0, Py_TPFLAGS_DEFAULT, slots};
