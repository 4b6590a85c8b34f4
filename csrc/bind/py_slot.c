/* Slot: a slot of a queue that this process holds. It has one owner, this object, until its record is put: so an exception
 * between any two steps, a signal handler's among them, leaves no slot behind. Mapped, it is a buffer. */
#include "bind/py_queue.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "core/pp_slot.h"

typedef struct {
    PyObject_HEAD
    QueueObject *queue;
    int64_t slot; /* -1: it is no longer ours, or it is the view's */
    pp_word is_mapped; /* the view is there, for good */
    struct pp_view view;
} SlotObject;

/* The class, found by way of the queue's own. */
static PyTypeObject *slot_type(QueueObject *queue)
{
    PyObject *type = py_first(&queue->slot_type);
    if (type == NULL) {
        PyTypeObject *own = py_class_with((PyObject *)queue, py_queue_dealloc);
        PyObject *module = own == NULL ? NULL : PyType_GetModule(own);
        type = py_keep_first(&queue->slot_type, module == NULL ? NULL : PyObject_GetAttrString(module, "Slot"));
    }
    return (PyTypeObject *)type;
}

PyObject *py_slot_new(QueueObject *queue)
{
    PyTypeObject *type = slot_type(queue);
    SlotObject *self = type == NULL ? NULL : (SlotObject *)((allocfunc)PyType_GetSlot(type, Py_tp_alloc))(type, 0);
    if (self != NULL) {
        self->queue = (QueueObject *)Py_NewRef((PyObject *)queue);
        self->slot = -1;
    }
    return (PyObject *)self;
}

void py_slot_own(PyObject *slot, int64_t number)
{
    __atomic_store_n(&((SlotObject *)slot)->slot, number, __ATOMIC_SEQ_CST); /* killed here: it is a dead holder's */
}

static int64_t number_of(SlotObject *self) { return __atomic_load_n(&self->slot, __ATOMIC_SEQ_CST); }

static void slot_dealloc(PyObject *object);

int64_t py_slot_of(QueueObject *queue, PyObject *object)
{
    if (PyLong_Check(object)) { /* one that is somebody else's to give back */
        return PyLong_AsLongLong(object);
    }
    int is_slot = py_class_with(object, slot_dealloc) != NULL && ((SlotObject *)object)->queue == queue;
    return is_slot ? number_of((SlotObject *)object) : -1;
}

void py_slot_gone(PyObject *object)
{
    if (!PyLong_Check(object)) {
        py_slot_own(object, -1);
    }
}

static void give(SlotObject *self)
{
    int64_t slot = __atomic_exchange_n(&self->slot, -1, __ATOMIC_SEQ_CST); /* killed here: as before, it is a dead holder's */
    if (slot >= 0) {
        pp_slot_give(&self->queue->queue, slot);
    }
}

static void slot_dealloc(PyObject *object)
{
    SlotObject *self = (SlotObject *)object;
    PyTypeObject *type = Py_TYPE(object);
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);
    if (pp_load_own(&self->is_mapped)) {
        pp_view_unmap(&self->view);
    }
    if (self->queue != NULL) {
        give(self);
    }
    Py_XDECREF((PyObject *)self->queue);
    release(object);
    Py_DECREF(type);
}

/* The slot's number; -1 with an exception set when it was given back. */
static int64_t held(SlotObject *self)
{
    int64_t slot = number_of(self);
    if (slot < 0) {
        PyErr_SetString(PyExc_ValueError, "the slot is no longer held");
    }
    return slot;
}

/* _slot(size) -> Slot */
PyObject *py_slot_make(PyObject *object, PyObject *size_object)
{
    QueueObject *queue = (QueueObject *)object;
    unsigned long long size = PyLong_AsUnsignedLongLong(size_object);
    if (PyErr_Occurred() || !py_queue_usable(queue)) {
        return NULL;
    }
    PyObject *self = py_slot_new(queue);
    if (self == NULL) {
        return NULL;
    }
    int64_t slot = pp_slot_reserve(&queue->queue, size);
    if (slot < 0) {
        PyErr_SetFromErrno(PyExc_OSError);
        Py_DECREF(self);
        return NULL;
    }
    py_slot_own(self, slot);
    return self;
}

PyObject *py_slot_reserve(PyObject *object, PyObject *size_object)
{
    QueueObject *self = (QueueObject *)object;
    unsigned long long size = PyLong_AsUnsignedLongLong(size_object);
    if (PyErr_Occurred() || !py_queue_usable(self)) {
        return NULL;
    }
    int64_t slot = pp_slot_reserve(&self->queue, size);
    return slot < 0 ? PyErr_SetFromErrno(PyExc_OSError) : PyLong_FromLongLong(slot);
}

PyObject *py_slot_memory(PyObject *object, PyObject *ignored)
{
    (void)ignored;
    QueueObject *self = (QueueObject *)object;
    return PyLong_FromUnsignedLongLong(!py_queue_is_there(self) ? 0 : pp_slot_memory(&self->queue));
}

/* write(offset, buffer) */
static PyObject *slot_write(PyObject *object, PyObject *args)
{
    SlotObject *self = (SlotObject *)object;
    unsigned long long offset;
    Py_buffer view;
    if (!PyArg_ParseTuple(args, "Ky*", &offset, &view)) {
        return NULL;
    }
    int64_t slot = held(self);
    int failed = slot < 0;
    for (Py_ssize_t done = 0; !failed && done < view.len;) {
        int64_t written;
        Py_BEGIN_ALLOW_THREADS
        written = pp_slot_write(&self->queue->queue, slot, offset + (uint64_t)done, (char *)view.buf + done,
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

/* The bytes that it begins with, to `bytes`. No signal handler runs meanwhile: what it raised would lose a message. */
static int read_all(QueueObject *queue, int64_t slot, char *bytes, Py_ssize_t size)
{
    int error = 0;
    Py_BEGIN_ALLOW_THREADS
    for (Py_ssize_t done = 0; error == 0 && done < size;) {
        ssize_t count = pread(pp_chunk_fd(queue->queue.chunk), bytes + done, (size_t)(size - done),
                              pp_slot_at(&queue->queue, slot) + done);
        if (count > 0) {
            done += count;
        } else if (count == 0 || errno != EINTR) {
            error = count == 0 ? PP_WRITTEN_OVER : errno;
        }
    }
    Py_END_ALLOW_THREADS
    errno = error;
    return error == 0;
}

static PyObject *read_object(SlotObject *self, Py_ssize_t size, int mutable)
{
    int64_t slot = held(self);
    if (slot < 0) {
        return NULL;
    }
    if (size < 0 || (uint64_t)size > self->queue->queue.slot_size
        || !pp_slot_has(&self->queue->queue, slot, (uint64_t)size)) {
        errno = PP_WRITTEN_OVER;
        return py_queue_refuse(PP_FAILED, "Empty");
    }
    PyObject *data = mutable ? PyByteArray_FromStringAndSize(NULL, size) : PyBytes_FromStringAndSize(NULL, size);
    char *bytes = data == NULL ? NULL : mutable ? PyByteArray_AsString(data) : PyBytes_AsString(data);
    if (data != NULL && !read_all(self->queue, slot, bytes, size)) {
        Py_DECREF(data);
        return py_queue_refuse(PP_FAILED, "Empty");
    }
    return data;
}

/* read(size) -> bytes */
static PyObject *slot_read(PyObject *self, PyObject *size_object)
{
    Py_ssize_t size = PyLong_AsSsize_t(size_object);
    return PyErr_Occurred() ? NULL : read_object((SlotObject *)self, size, 0);
}

/* A record of bytes is: slot, whether they are a bytearray's (4 bytes each), how many (8). */
PyObject *py_slot_open_bytes(PyObject *slot, PyObject *record)
{
    uint32_t mutable;
    uint64_t size;
    if (PyBytes_Size(record) != 16) {
        errno = PP_WRITTEN_OVER;
        return py_queue_refuse(PP_FAILED, "Empty");
    }
    memcpy(&mutable, PyBytes_AsString(record) + 4, sizeof mutable);
    memcpy(&size, PyBytes_AsString(record) + 8, sizeof size);
    PyObject *data = read_object((SlotObject *)slot, size > (uint64_t)PY_SSIZE_T_MAX ? -1 : (Py_ssize_t)size, mutable != 0);
    give((SlotObject *)slot);
    return data;
}

static PyObject *slot_open(PyObject *self, PyObject *record)
{
    if (!PyBytes_Check(record)) {
        PyErr_SetString(PyExc_TypeError, "a record is bytes");
        return NULL;
    }
    return py_slot_open_bytes(self, record);
}

static PyObject *slot_give(PyObject *self, PyObject *ignored)
{
    (void)ignored;
    give((SlotObject *)self);
    Py_RETURN_NONE;
}

/* map(size) -> itself, which is a buffer from here on and holds the slot as long as anybody looks at it */
static PyObject *slot_map(PyObject *object, PyObject *size_object)
{
    SlotObject *self = (SlotObject *)object;
    Py_ssize_t size = PyLong_AsSsize_t(size_object);
    if (PyErr_Occurred() || held(self) < 0) {
        return NULL;
    }
    int64_t slot = __atomic_exchange_n(&self->slot, -1, __ATOMIC_SEQ_CST); /* killed here: it is a dead holder's */
    if (slot < 0 || size <= 0 || !pp_view_map(&self->view, &self->queue->queue, slot, (size_t)size)) {
        int error = slot < 0 || size <= 0 ? EINVAL : errno;
        py_slot_own(object, slot);
        errno = error;
        return PyErr_SetFromErrno(PyExc_OSError);
    }
    pp_publish(&self->is_mapped, 1); /* killed here: as above */
    return Py_NewRef(object);
}

static int slot_buffer(PyObject *object, Py_buffer *buffer, int flags)
{
    SlotObject *self = (SlotObject *)object;
    if (!pp_load(&self->is_mapped)) {
        PyErr_SetString(PyExc_BufferError, "the slot is not mapped");
        return -1;
    }
    return PyBuffer_FillInfo(buffer, object, self->view.bytes, (Py_ssize_t)self->view.size, 0, flags);
}

static PyObject *slot_number(PyObject *self, void *ignored)
{
    (void)ignored;
    return PyLong_FromLongLong(number_of((SlotObject *)self));
}

static PyMethodDef slot_methods[] = {
    {"write", slot_write, METH_VARARGS, "write(offset, buffer)"},
    {"read", slot_read, METH_O, "read(size) -> bytes"},
    {"open", slot_open, METH_O, "open(record) -> the bytes or bytearray that a record tells of; the slot is given back"},
    {"map", slot_map, METH_O, "map(size) -> itself: the memory as a buffer"},
    {"give", slot_give, METH_NOARGS, "give(): give it back, if it is held"},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef slot_attributes[] = {
    {"number", slot_number, NULL, "Its number; -1 when it is no longer held.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot slot_slots[] = {
    {Py_tp_dealloc, slot_dealloc}, {Py_bf_getbuffer, slot_buffer}, {Py_tp_methods, slot_methods},
    {Py_tp_getset, slot_attributes}, {0, NULL},
};

PyType_Spec py_slot_spec = {
    "polyproc._core.Slot", sizeof(SlotObject), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION, slot_slots,
};
