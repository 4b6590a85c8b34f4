/* What is in a queue: what was kept for the next call, how many items there are, and waiting for one without taking it. */
#include "bind/py_queue.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/pp_facts.h"
#include "core/pp_futex.h"
#include "core/pp_slot.h"

/* -- what was taken for a call that raised: the queue is had alone -- */

static Py_ssize_t number_kept(QueueObject *self)
{
    /* A forked child's are its parent's. */
    return self->kept == NULL || self->kept_births != pp_birth() ? 0 : PyList_Size(self->kept);
}

Py_ssize_t py_queue_kept(QueueObject *self)
{
    Py_ssize_t number = 0;
    if (py_first(&self->kept) != NULL) {
        PY_ALONE((PyObject *)self, number = number_kept(self));
    }
    return number;
}

static PyObject *get_kept(QueueObject *self)
{
    return number_kept(self) == 0 ? NULL : PyObject_CallMethod(self->kept, "pop", "i", 0);
}

PyObject *py_queue_get_kept(QueueObject *self)
{
    PyObject *first;
    PY_ALONE((PyObject *)self, first = get_kept(self));
    if (first == NULL) {
        PyErr_Clear(); /* another thread was faster */
    }
    return first;
}

static PyObject *keep(QueueObject *self, PyObject *items)
{
    PyObject *before = self->kept;
    if (number_kept(self) == 0) {
        PyObject *made = PyList_New(0);
        self->kept_births = pp_birth();
        __atomic_store_n(&self->kept, made, __ATOMIC_RELEASE); /* killed here: it is this process's own */
        Py_XDECREF(before);
    }
    if (self->kept == NULL || PyList_SetSlice(self->kept, 0, 0, items) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

PyObject *py_queue_keep(PyObject *object, PyObject *items)
{
    PyObject *done;
    PY_ALONE(object, done = keep((QueueObject *)object, items));
    return done;
}

/* -- records that were taken in a wait, without the GIL, and then had to wait for memory: the same -- */

static pp_word taken_ever;

int py_taken_ever(void) { return (int)pp_load_own(&taken_ever); }

struct py_taken *py_taken_copy(const struct pp_record *record)
{
    struct py_taken *taken = malloc(sizeof *taken + record->length);
    if (taken != NULL) {
        taken->births = pp_birth();
        taken->record = *record;
        memcpy(taken->bytes, record->bytes, record->length);
        taken->record.bytes = taken->bytes;
    }
    return taken;
}

void py_taken_put_back(QueueObject *self, struct py_taken *taken)
{
    pp_store_own(&taken_ever, 1);
    PY_ALONE((PyObject *)self, taken->next = self->taken; __atomic_store_n(&self->taken, taken, __ATOMIC_RELEASE)); /* killed here: it is this process's own */
}

static struct py_taken *next_taken(QueueObject *self)
{
    while (self->taken != NULL) {
        struct py_taken *first = self->taken;
        __atomic_store_n(&self->taken, first->next, __ATOMIC_RELEASE); /* killed here: as above */
        if (first->births == pp_birth()) {
            return first;
        }
        free(first); /* a forked child's are its parent's */
    }
    return NULL;
}

struct py_taken *py_taken_next(QueueObject *self)
{
    struct py_taken *first = NULL;
    if (__atomic_load_n(&self->taken, __ATOMIC_ACQUIRE) != NULL) {
        PY_ALONE((PyObject *)self, first = next_taken(self));
    }
    return first;
}

static Py_ssize_t number_taken(QueueObject *self)
{
    Py_ssize_t number = 0;
    for (struct py_taken *taken = self->taken; taken != NULL; taken = taken->next) {
        number += taken->births == pp_birth();
    }
    return number;
}

static Py_ssize_t at_hand(QueueObject *self)
{
    Py_ssize_t number = py_queue_kept(self);
    if (__atomic_load_n(&self->taken, __ATOMIC_ACQUIRE) != NULL) {
        PY_ALONE((PyObject *)self, number += number_taken(self));
    }
    return number;
}

int py_taken_is_there(QueueObject *self) { return at_hand(self) != 0; }

void py_taken_free(QueueObject *self)
{
    while (self->taken != NULL) {
        struct py_taken *first = self->taken;
        self->taken = first->next;
        if (pp_is_large(&first->record) && first->births == pp_birth()) {
            pp_slot_give(&self->queue, first->record.slot);
        }
        free(first);
    }
}

PyObject *py_queue_size(PyObject *object, PyObject *ignored)
{
    (void)ignored;
    QueueObject *self = (QueueObject *)object;
    size_t size = !py_queue_is_there(self) ? 0 : pp_queue_size(&self->queue);
    return PyLong_FromSize_t(size + (size_t)at_hand(self));
}

PyObject *py_queue_full(PyObject *object, PyObject *ignored)
{
    (void)ignored;
    QueueObject *self = (QueueObject *)object;
    return PyBool_FromLong(py_queue_is_there(self) && pp_queue_is_full(&self->queue));
}

static enum pp_answer poll_step(CellObject *base, struct pp_wait *wait, int extra)
{
    (void)extra;
    return pp_queue_poll(&((QueueObject *)base)->queue, wait);
}

PyObject *py_queue_poll_on(PyObject *object, PyObject *ignored)
{
    (void)ignored;
    QueueObject *self = (QueueObject *)object;
    struct pp_wait wait;
    if (!py_queue_is_there(self) || !pp_fd_is_there(&self->queue.signal_in)) {
        PyErr_SetString(PyExc_OSError, PY_HANDLE_CLOSED);
        return NULL;
    }
    pp_wait_start(&wait, PP_FOREVER, NULL);
    enum pp_answer answer = py_wait(poll_step, &self->base, &wait, 0);
    if (answer != PP_DONE) {
        return py_queue_refuse(answer, "Empty");
    }
    return PyLong_FromLong(self->queue.signal_in.number);
}

PyObject *py_queue_empty(PyObject *object, PyObject *ignored)
{
    (void)ignored;
    QueueObject *self = (QueueObject *)object;
    int how = py_queue_is_closed(self);
    if (how == PY_QUEUE_CLOSED_FOR_GOOD || (how == PY_QUEUE_CLOSED && pp_load_own(&self->has_put))) {
        PyErr_Format(PyExc_OSError, how == PY_QUEUE_CLOSED ? PY_QUEUE_IS_CLOSED : PY_HANDLE_CLOSED, object);
        return NULL;
    }
    return PyBool_FromLong(!py_queue_is_there(self) || (pp_queue_size(&self->queue) == 0 && at_hand(self) == 0));
}

static enum pp_answer await_step(CellObject *base, struct pp_wait *wait, int extra)
{
    (void)extra;
    return pp_queue_await(&((QueueObject *)base)->queue, wait);
}

/* _await(timeout) */
PyObject *py_queue_await(PyObject *object, PyObject *timeout)
{
    QueueObject *self = (QueueObject *)object;
    struct pp_wait wait;
    int64_t deadline;
    if (!py_queue_usable(self) || !py_deadline(timeout, &deadline)) {
        return NULL;
    }
    if (at_hand(self) != 0) {
        Py_RETURN_TRUE;
    }
    pp_wait_start(&wait, deadline, &self->queue.get_spins);
    enum pp_answer answer = py_wait(await_step, &self->base, &wait, 0);
    return answer == PP_FAILED ? py_queue_refuse(answer, "Empty") : PyBool_FromLong(answer == PP_DONE);
}
