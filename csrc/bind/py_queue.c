/* The queue. Its algorithm is in core/pp_queue, its large messages in core/pp_slot; what is not plain data is pickled,
 * and large messages are laid out, by polyproc._queues.core_queue. */
#include "bind/py_queue.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bind/py_pickle.h"
#include "bind/py_types.h"
#include "core/pp_futex.h"
#include "core/pp_queue_block.h"
#include "core/pp_slot.h"

int py_queue_usable(QueueObject *self)
{
    if (!py_queue_is_there(self)) {
        PyErr_SetString(PyExc_RuntimeError, "the queue was not initialized: __init__ of its base class was not called");
        return 0;
    }
    switch (py_queue_is_closed(self)) {
    case PY_QUEUE_OPEN:
        return 1;
    case PY_QUEUE_CLOSED:
        PyErr_Format(PyExc_ValueError, PY_QUEUE_IS_CLOSED, (PyObject *)self);
        return 0;
    default:
        PyErr_SetString(PyExc_OSError, PY_HANDLE_CLOSED);
        return 0;
    }
}

PyObject *py_queue_refuse(enum pp_answer answer, const char *timed_out)
{
    if (PyErr_Occurred()) {
        return NULL;
    }
    if (answer == PP_TIMED_OUT || answer == PP_ENDED) {
        /* queue.Empty is of _queue, which is there; a first wait that ends without an item loads no more for it. */
        const char *from = answer == PP_ENDED ? "polyproc._queues.any_queue" : *timed_out == 'E' ? "_queue" : "queue";
        PyObject *module = PyImport_ImportModule(from);
        const char *name = answer == PP_ENDED ? "ShutDown" : timed_out;
        PyObject *kind = module == NULL ? NULL : PyObject_GetAttrString(module, name);
        if (kind != NULL) {
            PyErr_SetNone(kind);
        }
        Py_XDECREF(kind);
        Py_XDECREF(module);
    } else if (errno == PP_WRITTEN_OVER) {
        PyErr_SetString(PyExc_OSError, "the queue cannot be read: somebody has written over its memory");
    } else {
        py_failed();
    }
    return NULL;
}

/* -- life -- */

/* In this order: only in a queue that is there anything is looked at. */
static int settle(QueueObject *self, int made, int signal_in, int signal_out)
{
    if (!made) {
        if (!PyErr_Occurred()) {
            PyErr_SetFromErrno(PyExc_OSError);
        }
        pp_store(&self->is_begun, 0); /* killed here: it is this process's own */
        return -1;
    }
    self->base.cell = &self->queue.page->self;
    self->base.offset = (uint32_t)((char *)self->queue.page - (char *)self->queue.chunk->page);
    pp_fd_own(&self->queue.signal_in, signal_in);
    pp_fd_own(&self->queue.signal_out, signal_out);
    /* Killed here: as above. From here on it is there, for all threads. */
    __atomic_store_n(&self->base.chunk, self->queue.chunk, __ATOMIC_RELEASE);
    return 0;
}

static int make_once(QueueObject *self)
{
    if (!pp_cas(&self->is_begun, 0, 1)) { /* killed here: as above */
        PyErr_SetString(PyExc_RuntimeError, "the queue is initialized already");
        return 0;
    }
    return 1;
}

static PyObject *queue_create(PyObject *object, PyObject *args)
{
    QueueObject *self = (QueueObject *)object;
    unsigned int max;
    int joinable, signal_in, signal_out;
    if (!PyArg_ParseTuple(args, "Ipii", &max, &joinable, &signal_in, &signal_out) || !make_once(self)
        || settle(self, pp_queue_make(&self->queue, max, joinable), signal_in, signal_out) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *queue_attach(PyObject *object, PyObject *args)
{
    QueueObject *self = (QueueObject *)object;
    const char *id;
    Py_ssize_t length;
    unsigned int offset;
    int signal_in, signal_out;
    if (!PyArg_ParseTuple(args, "y#Iii", &id, &length, &offset, &signal_in, &signal_out) || !make_once(self)) {
        return NULL;
    }
    struct pp_chunk *chunk = length == PP_ID_SIZE ? pp_chunk_find((const unsigned char *)id) : NULL;
    int made = chunk != NULL && pp_queue_adopt(&self->queue, chunk, offset);
    if (!made) {
        if (chunk != NULL) {
            pp_chunk_drop(chunk);
        }
        PyErr_SetString(PyExc_ValueError, "there is no queue at this place");
    }
    if (settle(self, made, signal_in, signal_out) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

void py_queue_dealloc(PyObject *object)
{
    QueueObject *self = (QueueObject *)object;
    PyTypeObject *type = Py_TYPE(object);
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);
    if (self->base.chunk != NULL) {
        py_taken_free(self);
        pp_queue_drop(&self->queue);
    }
    if (self->base.chunk != NULL) {
        pp_fd_close(&self->queue.signal_in);
        pp_fd_close(&self->queue.signal_out);
    }
    Py_XDECREF(self->dumps);
    Py_XDECREF(self->loads);
    Py_XDECREF(self->slot_type);
    Py_XDECREF(self->kept);
    Py_XDECREF(self->waker);
    release(object);
    Py_DECREF(type);
}

/* -- putting -- */

struct putting {
    struct pp_wait wait; /* first: a step gets its address */
    struct pp_record *record;
};

static enum pp_answer put_step(CellObject *base, struct pp_wait *wait, int extra)
{
    (void)extra;
    return pp_queue_put(&((QueueObject *)base)->queue, ((struct putting *)wait)->record, wait);
}

static PyObject *put_record(QueueObject *self, struct pp_record *record, int64_t deadline)
{
    pp_store_own(&self->has_put, 1);
    enum pp_answer answer = pp_queue_put(&self->queue, record, NULL);
    if (answer == PP_AGAIN) {
        struct putting putting = {.record = record};
        pp_wait_start(&putting.wait, deadline, &self->queue.put_spins);
        answer = py_wait(put_step, &self->base, &putting.wait, 0);
    }
    if (answer != PP_DONE) {
        return py_queue_refuse(answer, "Full");
    }
    Py_RETURN_NONE;
}

static PyObject *put_bytes(QueueObject *self, enum pp_record_kind kind, PyObject *data, int64_t deadline, uint32_t tag)
{
    struct pp_record record = {kind, PyBytes_AsString(data), (uint32_t)PyBytes_Size(data), -1, tag};
    return put_record(self, &record, deadline);
}

static PyObject *put(QueueObject *self, PyObject *object, int64_t deadline, uint32_t tag)
{
    if (!py_queue_usable(self)) {
        return NULL;
    }
    if (PyBytes_CheckExact(object)) {
        if (PyBytes_Size(object) <= (Py_ssize_t)PP_MAX_RECORD) {
            return put_bytes(self, PP_BYTES, object, deadline, tag);
        }
    } else if (py_is_plain(object)) {
        PyObject *data = py_dumps_plain(&self->dumps, object);
        if (data == NULL || PyBytes_Size(data) <= (Py_ssize_t)PP_MAX_RECORD) {
            PyObject *result = data == NULL ? NULL : put_bytes(self, PP_PICKLE, data, deadline, tag);
            Py_XDECREF(data);
            return result;
        }
        Py_DECREF(data);
    }
    return PyObject_CallMethod((PyObject *)self, "_put_other", "OLI", object, (long long)deadline, tag);
}

static int is_named(PyObject *name, const char *text) { return PyUnicode_CompareWithASCIIString(name, text) == 0; }

/* (obj, block=True, timeout=None), or without obj: the deadline, as py_deadline makes it, and -1 not to wait. */
static int arguments(PyObject *const *args, Py_ssize_t count, PyObject *names, PyObject **object, int64_t *deadline)
{
    Py_ssize_t first = object != NULL, named = names == NULL ? 0 : PyTuple_Size(names);
    PyObject *values[3] = {NULL, Py_True, Py_None}; /* obj, block, timeout */
    static const char *const keys[] = {"obj", "block", "timeout"};
    if (count > 2 + first) {
        PyErr_Format(PyExc_TypeError, "expected at most %zd arguments, got %zd", 2 + first, count);
        return 0;
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        values[i + 1 - first] = args[i];
    }
    for (Py_ssize_t i = 0; i < named; i++) {
        PyObject *name = PyTuple_GetItem(names, i);
        Py_ssize_t key = 1 - first;
        while (key < 3 && !is_named(name, keys[key])) {
            key++;
        }
        if (key == 3 || key - (1 - first) < count) {
            PyErr_Format(PyExc_TypeError, "unexpected keyword argument %R", name);
            return 0;
        }
        values[key] = args[count + i];
    }
    if (object != NULL && (*object = values[0]) == NULL) {
        PyErr_SetString(PyExc_TypeError, "put() missing 1 required positional argument: 'obj'");
        return 0;
    }
    int blocks = values[1] == Py_True ? 1 : PyObject_IsTrue(values[1]);
    if (blocks <= 0) {
        *deadline = -1;
        return blocks == 0;
    }
    return py_deadline(values[2], deadline);
}

static PyObject *queue_put(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    PyObject *object;
    int64_t deadline = PP_FOREVER;
    if (count == 1 && names == NULL) {
        object = args[0];
    } else if (!arguments(args, count, names, &object, &deadline)) {
        return NULL;
    }
    return put((QueueObject *)self, object, deadline, 0);
}

static PyObject *queue_put_nowait(PyObject *self, PyObject *object) { return put((QueueObject *)self, object, -1, 0); }

/* _put_tagged(tag, obj) */
static PyObject *queue_put_tagged(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    unsigned long tag = count == 2 ? PyLong_AsUnsignedLong(args[0]) : 0;
    if (count != 2 || PyErr_Occurred() || tag > 0xffff) {
        PyErr_SetString(PyExc_ValueError, "_put_tagged() takes a tag of 16 bits and an object");
        return NULL;
    }
    return put((QueueObject *)self, args[1], PP_FOREVER, (uint32_t)tag);
}

/* _put_packed(kind, data, slot, deadline, tag): with the record, its slot is the queue's */
static PyObject *queue_put_packed(PyObject *object, PyObject *const *args, Py_ssize_t count)
{
    QueueObject *self = (QueueObject *)object;
    if (count != 5 || !PyBytes_Check(args[1])) {
        PyErr_SetString(PyExc_TypeError, "_put_packed() takes a kind, bytes, a slot, a deadline and a tag");
        return NULL;
    }
    long kind = PyLong_AsLong(args[0]);
    const char *bytes = PyBytes_AsString(args[1]);
    Py_ssize_t length = PyBytes_Size(args[1]);
    PyObject *holder = args[2];
    long long deadline = PyLong_AsLongLong(args[3]);
    unsigned long tag = PyLong_AsUnsignedLong(args[4]);
    if (PyErr_Occurred() || !py_queue_usable(self)) {
        return NULL;
    }
    int64_t slot = holder == Py_None ? -1 : py_slot_of(self, holder);
    if (PyErr_Occurred()) {
        return NULL;
    }
    if (kind < PP_BYTES || kind > PP_LARGE_PICKLE || length > (Py_ssize_t)PP_MAX_RECORD
        || (kind >= PP_LARGE_BYTES && (slot < 0 || slot >= self->queue.slots_there || length < 4))) {
        PyErr_SetString(PyExc_ValueError, "this is no record");
        return NULL;
    }
    struct pp_record record = {(enum pp_record_kind)kind, bytes, (uint32_t)length, slot, (uint32_t)tag};
    PyObject *done = put_record(self, &record, deadline);
    if (done != NULL && slot >= 0) {
        py_slot_gone(holder);
    }
    return done;
}

/* _put_pickles(records) -> how many were put: those before the first that is no short pickle, or that cannot be put now */
static PyObject *queue_put_pickles(PyObject *object, PyObject *records)
{
    QueueObject *self = (QueueObject *)object;
    if (!py_queue_usable(self)) {
        return NULL;
    }
    Py_ssize_t count = PyList_Check(records) ? PyList_Size(records) : 0, number = 0;
    for (; number < count; number++) {
        PyObject *packed, *buffers;
        unsigned int tag;
        const char *bytes;
        Py_ssize_t length;
        if (!PyArg_Parse(PyList_GetItem(records, number), "(IO)", &tag, &packed)) {
            return NULL;
        }
        if (packed == Py_None) { /* it is not packed yet */
            break;
        }
        if (!PyArg_Parse(packed, "(y#O)", &bytes, &length, &buffers)) {
            return NULL;
        }
        if (PyObject_IsTrue(buffers) != 0 || length > (Py_ssize_t)PP_MAX_RECORD) {
            break;
        }
        struct pp_record record = {PP_PICKLE, bytes, (uint32_t)length, -1, tag};
        PyObject *done = put_record(self, &record, PP_FOREVER);
        if (done == NULL && !PyErr_ExceptionMatches(PyExc_Exception)) {
            return NULL;
        }
        if (done == NULL) {
            PyErr_Clear();
            break;
        }
        Py_DECREF(done);
    }
    return PyLong_FromSsize_t(number);
}

/* -- getting -- */

struct getting {
    struct pp_wait wait; /* first */
    struct pp_record record;
    struct py_taken *taken;
};

/* Of a large record: its slot stands at the beginning of its bytes, of which this is the copy that is used. 0 if it cannot
 * be one. */
static int find_slot(QueueObject *self, struct pp_record *record, const char *bytes)
{
    uint32_t slot = UINT32_MAX;
    if (record->kind < PP_LARGE_BYTES) {
        return 1;
    }
    if (record->length >= sizeof slot) {
        memcpy(&slot, bytes, sizeof slot);
    }
    record->slot = slot;
    return slot < self->queue.slots_there;
}

static enum pp_answer get_step(CellObject *base, struct pp_wait *wait, int extra)
{
    (void)extra;
    QueueObject *self = (QueueObject *)base;
    struct getting *getting = (struct getting *)wait;
    enum pp_answer answer = pp_queue_begin_get(&self->queue, &getting->record, wait);
    if (answer == PP_AGAIN && !wait->slept) { /* it span: what came is here */
        answer = pp_queue_begin_get(&self->queue, &getting->record, wait);
    }
    if (answer != PP_DONE) {
        return answer;
    }
    int error = ENOMEM;
    getting->taken = py_taken_copy(&getting->record);
    if (getting->taken != NULL) {
        error = find_slot(self, &getting->taken->record, getting->taken->bytes) ? 0 : PP_WRITTEN_OVER;
    }
    if (error != 0) {
        free(getting->taken);
        pp_queue_abort_get(&self->queue);
        errno = error;
        return PP_FAILED;
    }
    getting->record.slot = getting->taken->record.slot;
    pp_queue_commit_get(&self->queue, &getting->record, wait);
    return PP_DONE;
}

/* What a record is to Python: its bytes; of a large one in `slot` what is to own its slot, else NULL; and its number in
 * `tag`, if that is wanted. NULL with an exception set, or with errno, and nothing made. */
static PyObject *in_objects(QueueObject *self, struct pp_record *record, PyObject **slot, PyObject **tag)
{
    PyObject *data = PyBytes_FromStringAndSize(record->bytes, record->length), *number = NULL;
    *slot = NULL;
    if (data == NULL) {
        return NULL;
    }
    if (!find_slot(self, record, PyBytes_AsString(data))) {
        errno = PP_WRITTEN_OVER;
    } else if ((tag == NULL || (number = PyLong_FromUnsignedLong(record->tag)) != NULL)
               && (!pp_is_large(record) || (*slot = py_slot_new(self)) != NULL)) {
        if (tag != NULL) {
            *tag = number;
        }
        return data;
    }
    Py_XDECREF(number);
    Py_DECREF(data);
    return NULL;
}

#define NO_WAIT INT64_MIN /* a deadline: not for a lock either */

/* Take the oldest record: its kind and its bytes, and as above. NULL with an exception set: it is still there, whatever
 * there was no memory for. */
static PyObject *get_record(QueueObject *self, struct pp_record *record, PyObject **slot, PyObject **tag, int64_t deadline)
{
    struct py_taken *taken = py_taken_next(self);
    enum pp_answer answer = taken != NULL ? PP_DONE : pp_queue_begin_get(&self->queue, record, NULL);
    PyObject *data;
    *slot = NULL;
    if (answer == PP_DONE && taken == NULL) {
        data = in_objects(self, record, slot, tag);
        if (data == NULL) {
            int error = errno;
            pp_queue_abort_get(&self->queue);
            errno = error;
            return py_queue_refuse(PP_FAILED, "Empty");
        }
        pp_queue_commit_get(&self->queue, record, NULL);
    } else {
        if (answer == PP_AGAIN && deadline == NO_WAIT) {
            answer = PP_TIMED_OUT;
        }
        if (answer == PP_AGAIN) {
            struct getting getting = {.taken = NULL};
            pp_wait_start(&getting.wait, deadline, &self->queue.get_spins);
            answer = py_wait(get_step, &self->base, &getting.wait, 0);
            taken = getting.taken;
        }
        if (answer != PP_DONE) {
            return py_queue_refuse(answer, "Empty");
        }
        *record = taken->record;
        data = in_objects(self, record, slot, tag);
        if (data == NULL) {
            py_taken_put_back(self, taken);
            return NULL;
        }
        free(taken);
    }
    if (*slot != NULL) {
        py_slot_own(*slot, record->slot);
    }
    return data;
}

static PyObject *get(QueueObject *self, int64_t deadline)
{
    struct pp_record record;
    if (!py_queue_usable(self)) {
        return NULL;
    }
    PyObject *slot, *result = py_first(&self->kept) == NULL ? NULL : py_queue_get_kept(self);
    if (result != NULL) {
        return result;
    }
    PyObject *data = get_record(self, &record, &slot, NULL, deadline);
    if (data == NULL || record.kind == PP_BYTES) {
        return data;
    }
    if (record.kind == PP_PICKLE) {
        return py_loads(&self->loads, data);
    }
    if (record.kind == PP_LARGE_BYTES) {
        result = py_slot_open_bytes(slot, data);
    } else {
        result = PyObject_CallMethod((PyObject *)self, "_get_large", "OO", data, slot);
    }
    Py_DECREF(data);
    Py_DECREF(slot);
    return result;
}

static PyObject *queue_get(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    int64_t deadline = PP_FOREVER;
    if ((count != 0 || names != NULL) && !arguments(args, count, names, NULL, &deadline)) {
        return NULL;
    }
    return get((QueueObject *)self, deadline);
}

static PyObject *queue_get_nowait(PyObject *self, PyObject *ignored)
{
    (void)ignored;
    return get((QueueObject *)self, -1);
}

/* _get_record(timeout) -> (tag, kind, data, slot): the oldest record as it is */
static PyObject *queue_get_record(PyObject *object, PyObject *timeout)
{
    QueueObject *self = (QueueObject *)object;
    int64_t deadline;
    if (!py_queue_usable(self) || !py_deadline(timeout, &deadline)) {
        return NULL;
    }
    return py_queue_get_oldest(self, deadline);
}

PyObject *py_queue_get_oldest(QueueObject *self, int64_t deadline)
{
    struct pp_record record;
    PyObject *slot, *tag, *all = PyTuple_New(4); /* before anything is taken: that may collect garbage, too */
    PyObject *data = all == NULL ? NULL : get_record(self, &record, &slot, &tag, deadline);
    if (data == NULL) {
        Py_XDECREF(all);
        return NULL;
    }
    PyTuple_SetItem(all, 0, tag);
    PyTuple_SetItem(all, 1, PyLong_FromLong((long)record.kind)); /* a small one: it is there */
    PyTuple_SetItem(all, 2, data);
    PyTuple_SetItem(all, 3, slot == NULL ? Py_NewRef(Py_None) : slot);
    return all;
}

/* _try_record() -> (tag, kind, data, slot): the same, if that can be done at this moment */
static PyObject *queue_try_record(PyObject *object, PyObject *ignored)
{
    (void)ignored;
    return py_queue_usable((QueueObject *)object) ? py_queue_get_oldest((QueueObject *)object, NO_WAIT) : NULL;
}

int py_is_queue(PyObject *object)
{
    if (py_class_with(object, py_queue_dealloc) == NULL || !py_queue_is_there((QueueObject *)object)) {
        PyErr_SetString(PyExc_TypeError, "this is no queue");
        return 0;
    }
    return 1;
}

/* _wakes(waker): wake its consumer from now on, where this queue's would be woken */
static PyObject *queue_wakes(PyObject *object, PyObject *waker)
{
    QueueObject *self = (QueueObject *)object;
    if (!py_queue_usable(self) || !py_is_queue(waker)) {
        return NULL;
    }
    if (pp_queue_block_address(&self->queue, 0) == NULL) { /* here it can be told, and not where it is heard */
        return PyErr_SetFromErrno(PyExc_OSError);
    }
    if (py_keep_first(&self->waker, Py_NewRef(waker)) == waker) {
        __atomic_store_n(&self->queue.waker, &((QueueObject *)waker)->queue, __ATOMIC_RELEASE); /* killed here: it is this process's own */
    }
    Py_RETURN_NONE;
}

/* Throw the oldest record away, which is done with it; whether there was one. */
static PyObject *queue_drop_one(PyObject *object, PyObject *ignored)
{
    (void)ignored;
    QueueObject *self = (QueueObject *)object;
    struct pp_record record;
    PyObject *slot, *data = get_record(self, &record, &slot, NULL, -1);
    if (data == NULL) {
        PyErr_Clear();
        Py_RETURN_FALSE;
    }
    Py_DECREF(data);
    Py_XDECREF(slot);
    if (self->queue.joinable && py_queue_one_done(self) == PP_FAILED) {
        return py_queue_refuse(PP_FAILED, "Empty");
    }
    Py_RETURN_TRUE;
}

/* -- types -- */

#define FAST(function) ((PyCFunction)(void (*)(void))(function))
#define KEYS (METH_FASTCALL | METH_KEYWORDS)

static PyMethodDef queue_methods[] = {
    {"put", FAST(queue_put), KEYS,
     "put($self, obj, block=True, timeout=None)\n--\n\n"
     "Add an item; wait up to `timeout` seconds for a place in a bounded queue. Full, ShutDown, ValueError."},
    {"put_nowait", queue_put_nowait, METH_O,
     "put_nowait($self, obj, /)\n--\n\n"
     "Add an item or raise Full."},
    {"get", FAST(queue_get), KEYS,
     "get($self, block=True, timeout=None)\n--\n\n"
     "Remove and return an item; wait up to `timeout` seconds for one. Empty, ShutDown, ValueError."},
    {"get_nowait", queue_get_nowait, METH_NOARGS,
     "get_nowait($self, /)\n--\n\n"
     "Remove and return an item or raise Empty."},
    {"qsize", py_queue_size, METH_NOARGS,
     "qsize($self, /)\n--\n\n"
     "Return the number of items as it is at this moment."},
    {"full", py_queue_full, METH_NOARGS,
     "full($self, /)\n--\n\n"
     "Return whether nothing can be put at this moment."},
    {"empty", py_queue_empty, METH_NOARGS,
     "empty($self, /)\n--\n\n"
     "Return whether nothing can be got at this moment."},
    {"_await", py_queue_await, METH_O, "_await(timeout) -> whether there are items"},
    {"_close", py_queue_close, METH_O, "_close(for_good): in this process"},
    {"_create", queue_create, METH_VARARGS, "_create(max, joinable, signal_in, signal_out)"},
    {"_attach", queue_attach, METH_VARARGS, "_attach(id, offset, signal_in, signal_out)"},
    {"_where", py_cell_where, METH_NOARGS, "_where() -> (id, offset)"},
    {"_put_packed", FAST(queue_put_packed), METH_FASTCALL, "_put_packed(kind, data, slot, deadline, tag)"},
    {"_put_pickles", queue_put_pickles, METH_O, "_put_pickles([(tag, (pickle, buffers)), ...]) -> how many could be put"},
    {"_put_tagged", FAST(queue_put_tagged), METH_FASTCALL, "_put_tagged(tag, obj)"},
    {"_get_record", queue_get_record, METH_O, "_get_record(timeout) -> (tag, kind, data, slot)"},
    {"_try_record", queue_try_record, METH_NOARGS, "_try_record() -> (tag, kind, data, slot), waiting for nothing"},
    {"_wakes", queue_wakes, METH_O, "_wakes(waker): wake the consumer of the waker, another queue, from now on"},
    {"_lend", py_queue_lend, METH_NOARGS, "_lend() -> time: another thread waits for the next record, not who hears its set"},
    {"_call_in", py_queue_call_in, METH_O, "_call_in(wakes) -> whether there are items, which no thread may have heard of"},
    {"_await_lent", py_queue_await_lent, METH_O, "_await_lent(time) -> whether there is a record; False: it was called in"},
    {"_keep", py_queue_keep, METH_O, "_keep(items): a list of what was taken, to be got next"},
    {"_drop_one", queue_drop_one, METH_NOARGS, "_drop_one() -> whether there was an item to drop"},
    {"_slot_reserve", py_slot_reserve, METH_O, "_slot_reserve(size) -> the number of a slot that nobody gives back"},
    {"_slot", py_slot_make, METH_O, "_slot(size) -> Slot"},
    {"_slot_memory", py_slot_memory, METH_NOARGS, "_slot_memory() -> bytes"},
    {"_poll_on", py_queue_poll_on, METH_NOARGS, "_poll_on() -> a descriptor that is readable while there are items"},
    {"_end", py_queue_end, METH_NOARGS, "_end(): nothing more can be put"},
    {"_task_done", py_queue_task_done, METH_NOARGS, "_task_done()"},
    {"_join", py_queue_join, METH_NOARGS, "_join()"},
    {"_unfinished", py_queue_unfinished, METH_NOARGS, "_unfinished() -> items that are not done"},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef queue_attributes[] = {
    {"_closed", py_queue_get_closed, NULL, "Whether this process has closed it.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot queue_slots[] = {
    {Py_tp_dealloc, py_queue_dealloc}, {Py_tp_methods, queue_methods}, {Py_tp_getset, queue_attributes}, {0, NULL},
};

PyType_Spec py_queue_spec = {
    "polyproc._core.Queue", sizeof(QueueObject), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE, queue_slots,
};
