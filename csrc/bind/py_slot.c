/* Slots of a queue, and Mapping: the memory of one as a buffer. The algorithm is in core/pp_slot. */
#include <errno.h>
#include <unistd.h>

#include "bind/py_queue.h"
#include "core/pp_slot.h"

/* Whether an argument is a slot of this queue; -1 with an exception set. */
static int64_t slot_argument(PyQueue *self, long long slot)
{
    if (self->base.chunk == NULL || slot < 0 || slot >= self->queue.slots_there) {
        PyErr_SetString(PyExc_ValueError, "this is no slot of the queue");
        return -1;
    }
    return slot;
}

PyObject *py_slot_take(PyObject *object, PyObject *size_object)
{
    PyQueue *self = (PyQueue *)object;
    unsigned long long size = PyLong_AsUnsignedLongLong(size_object);
    if (PyErr_Occurred() || !py_queue_usable(self)) {
        return NULL;
    }
    int64_t slot = pp_slot_take(&self->queue, size);
    return slot < 0 ? PyErr_SetFromErrno(PyExc_OSError) : PyLong_FromLongLong(slot);
}

PyObject *py_slot_write(PyObject *object, PyObject *args)
{
    PyQueue *self = (PyQueue *)object;
    long long slot;
    unsigned long long offset;
    Py_buffer view;
    if (!PyArg_ParseTuple(args, "LKy*", &slot, &offset, &view)) {
        return NULL;
    }
    int failed = slot_argument(self, slot) < 0;
    for (Py_ssize_t done = 0; !failed && done < view.len;) {
        int64_t written;
        Py_BEGIN_ALLOW_THREADS
        written = pp_slot_write(&self->queue, slot, offset + (uint64_t)done, (char *)view.buf + done,
                                (uint64_t)(view.len - done));
        Py_END_ALLOW_THREADS
        if (written > 0) {
            done += written;
        } else if (written < 0 && errno != EINTR) {
            PyErr_SetFromErrno(PyExc_OSError);
            failed = 1;
        }
        failed = failed || PyErr_CheckSignals() < 0;
    }
    PyBuffer_Release(&view);
    if (failed) {
        return NULL;
    }
    Py_RETURN_NONE;
}

/* The bytes that a slot begins with. */
PyObject *py_slot_read(PyObject *object, PyObject *args)
{
    PyQueue *self = (PyQueue *)object;
    long long slot;
    Py_ssize_t size;
    if (!PyArg_ParseTuple(args, "Ln", &slot, &size) || slot_argument(self, slot) < 0) {
        return NULL;
    }
    if (size < 0 || (uint64_t)size > self->queue.slot_size || !pp_slot_has(&self->queue, slot, (uint64_t)size)) {
        errno = PP_WRITTEN_OVER;
        return py_queue_refuse(PP_FAILED, "Empty");
    }
    PyObject *data = PyBytes_FromStringAndSize(NULL, size);
    char *bytes = data == NULL ? NULL : PyBytes_AsString(data);
    for (Py_ssize_t done = 0; data != NULL && done < size;) {
        ssize_t count;
        Py_BEGIN_ALLOW_THREADS
        count = pread(self->queue.chunk->fd, bytes + done, (size_t)(size - done),
                      pp_slot_at(&self->queue, slot) + done);
        Py_END_ALLOW_THREADS
        if (count > 0) {
            done += count;
        } else if (count == 0 || errno != EINTR) {
            PyErr_SetFromErrno(PyExc_OSError);
        }
        if (PyErr_Occurred() || PyErr_CheckSignals() < 0) {
            Py_CLEAR(data);
        }
    }
    return data;
}

PyObject *py_slot_give(PyObject *object, PyObject *slot_object)
{
    PyQueue *self = (PyQueue *)object;
    int64_t slot = slot_argument(self, PyLong_AsLongLong(slot_object));
    if (slot < 0) {
        return NULL;
    }
    pp_slot_give(&self->queue, slot);
    Py_RETURN_NONE;
}

PyObject *py_slot_memory(PyObject *object, PyObject *ignored)
{
    (void)ignored;
    PyQueue *self = (PyQueue *)object;
    return PyLong_FromUnsignedLongLong(self->base.chunk == NULL ? 0 : pp_slot_memory(&self->queue));
}

/* -- a mapped slot -- */

typedef struct {
    PyObject_HEAD
    PyObject *queue;
    struct pp_view view;
} PyMapping;

/* Mapping(queue, slot, size) */
static PyObject *mapping_new(PyTypeObject *type, PyObject *args, PyObject *names)
{
    (void)names;
    PyObject *queue;
    long long slot;
    Py_ssize_t size;
    if (!PyArg_ParseTuple(args, "OLn", &queue, &slot, &size)) {
        return NULL;
    }
    if (py_class_with(queue, py_queue_dealloc) == NULL || slot_argument((PyQueue *)queue, slot) < 0) {
        PyErr_SetString(PyExc_TypeError, "Mapping() takes a queue, a slot of it and a size");
        return NULL;
    }
    allocfunc allocate = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    PyMapping *self = (PyMapping *)allocate(type, 0);
    if (self == NULL) {
        return NULL;
    }
    if (size <= 0 || !pp_view_map(&self->view, &((PyQueue *)queue)->queue, slot, (size_t)size)) {
        Py_DECREF(self);
        return PyErr_SetFromErrno(PyExc_OSError);
    }
    self->queue = Py_NewRef(queue);
    return (PyObject *)self;
}

static void mapping_dealloc(PyObject *object)
{
    PyMapping *self = (PyMapping *)object;
    PyTypeObject *type = Py_TYPE(object);
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);
    if (self->queue != NULL) {
        pp_view_unmap(&self->view);
        Py_DECREF(self->queue);
    }
    release(object);
    Py_DECREF(type);
}

static int mapping_buffer(PyObject *object, Py_buffer *buffer, int flags)
{
    PyMapping *self = (PyMapping *)object;
    return PyBuffer_FillInfo(buffer, object, self->view.bytes, (Py_ssize_t)self->view.size, 0, flags);
}

static PyType_Slot mapping_slots[] = {
    {Py_tp_new, mapping_new}, {Py_tp_dealloc, mapping_dealloc}, {Py_bf_getbuffer, mapping_buffer}, {0, NULL},
};

PyType_Spec py_mapping_spec = {"polyproc._core.Mapping", sizeof(PyMapping), 0, Py_TPFLAGS_DEFAULT, mapping_slots};
