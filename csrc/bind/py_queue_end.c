/* The end of a queue, and of its tasks: closing and ending it, task_done and join. */
#include "bind/py_queue.h"

#include <errno.h>

#include "core/pp_facts.h"
#include "core/pp_futex.h"
#include "core/pp_slot.h"

int py_queue_is_closed(QueueObject *self)
{
    uint64_t closing = pp_load64(&self->closing);
    if (pp_lo32(closing) == PY_QUEUE_CLOSED && pp_hi32(closing) != pp_birth()) {
        (void)pp_cas64(&self->closing, closing, PY_QUEUE_OPEN); /* it was our parent that closed it; killed here: as before */
        closing = pp_load64(&self->closing);
    }
    return (int)(uint32_t)closing;
}

/* _close(for_good) */
PyObject *py_queue_close(PyObject *object, PyObject *for_good)
{
    QueueObject *self = (QueueObject *)object;
    uint64_t closing = pp_pack64(pp_birth(), for_good == Py_True ? PY_QUEUE_CLOSED_FOR_GOOD : PY_QUEUE_CLOSED);
    uint64_t before = pp_load64(&self->closing);
    /* Killed here: it is this process's own. */
    while ((uint32_t)before != PY_QUEUE_CLOSED_FOR_GOOD && !pp_cas64(&self->closing, before, closing)) {
        before = pp_load64(&self->closing);
    }
    Py_RETURN_NONE;
}

PyObject *py_queue_get_closed(PyObject *self, void *ignored)
{
    (void)ignored;
    return PyBool_FromLong(py_queue_is_closed((QueueObject *)self) != PY_QUEUE_OPEN);
}

static enum pp_answer end_step(CellObject *base, struct pp_wait *wait, int extra)
{
    (void)extra;
    return pp_queue_end(&((QueueObject *)base)->queue, wait);
}

PyObject *py_queue_end(PyObject *object, PyObject *ignored)
{
    (void)ignored;
    QueueObject *self = (QueueObject *)object;
    struct pp_wait wait;
    pp_wait_start(&wait, PP_FOREVER, NULL);
    return py_queue_usable(self) && py_wait(end_step, &self->base, &wait, 0) == PP_DONE ? Py_NewRef(Py_None) : NULL;
}

static enum pp_answer done_step(CellObject *base, struct pp_wait *wait, int extra)
{
    (void)extra;
    return pp_queue_done(&((QueueObject *)base)->queue, wait);
}

enum pp_answer py_queue_one_done(QueueObject *self)
{
    struct pp_wait wait;
    enum pp_answer answer = pp_queue_done(&self->queue, NULL);
    if (answer == PP_AGAIN) {
        pp_wait_start(&wait, PP_FOREVER, &self->queue.lock_spins);
        answer = py_wait(done_step, &self->base, &wait, 0);
    }
    return answer;
}

PyObject *py_queue_task_done(PyObject *object, PyObject *ignored)
{
    (void)ignored;
    QueueObject *self = (QueueObject *)object;
    enum pp_answer answer = !py_queue_is_there(self) ? PP_ENDED : py_queue_one_done(self);
    if (answer == PP_ENDED) {
        PyErr_SetString(PyExc_ValueError, "task_done() called too many times: it belongs once to each item that get() has returned");
        return NULL;
    }
    return answer == PP_DONE ? Py_NewRef(Py_None) : py_queue_refuse(answer, "Empty");
}

static enum pp_answer join_step(CellObject *base, struct pp_wait *wait, int extra)
{
    (void)extra;
    return pp_queue_join(&((QueueObject *)base)->queue, wait);
}

PyObject *py_queue_join(PyObject *object, PyObject *ignored)
{
    (void)ignored;
    QueueObject *self = (QueueObject *)object;
    struct pp_wait wait;
    pp_wait_start(&wait, PP_FOREVER, NULL);
    enum pp_answer answer = !py_queue_is_there(self) ? PP_DONE : py_wait(join_step, &self->base, &wait, 0);
    if (answer != PP_DONE) {
        return py_queue_refuse(answer, "Empty");
    }
    Py_RETURN_NONE;
}

PyObject *py_queue_unfinished(PyObject *object, PyObject *ignored)
{
    (void)ignored;
    QueueObject *self = (QueueObject *)object;
    return PyLong_FromUnsignedLong(!py_queue_is_there(self) ? 0 : pp_queue_unfinished(&self->queue));
}
