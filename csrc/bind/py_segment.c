/* Segment: a mapping as a buffer. It is unmapped by close(), or with the last view of it. And a name for one. */
#include "bind/py_shared_memory.h"

#include <string.h>
#include <sys/mman.h>

#include "core/pp_atomic.h"
#include "core/pp_futex.h"

typedef struct {
    PyObject_HEAD
    char *bytes;
    size_t size;
    pp_word views; /* or CLOSED: one word, so that nobody unmaps what another thread begins to look at */
} SegmentObject;

#define CLOSED UINT32_MAX

void py_unmap(char *bytes, size_t size)
{
    if (bytes != NULL && size <= PY_LONG_TIME) {
        munmap(bytes, size);
    } else if (bytes != NULL) {
        Py_BEGIN_ALLOW_THREADS
        munmap(bytes, size);
        Py_END_ALLOW_THREADS
    }
}

PyObject *py_segment_make(PyTypeObject *type, char *bytes, size_t size)
{
    SegmentObject *self = PyObject_New(SegmentObject, type);
    if (self != NULL) {
        self->bytes = bytes;
        self->size = size;
        pp_store_own(&self->views, 0);
    }
    return (PyObject *)self;
}

PyObject *py_segment_close(PyObject *object, PyObject *ignored)
{
    (void)ignored;
    SegmentObject *self = (SegmentObject *)object;
    if (pp_cas(&self->views, 0, CLOSED)) { /* killed here: it is this process's own */
        py_unmap(self->bytes, self->size);
    } else if (pp_load(&self->views) != CLOSED) {
        PyErr_SetString(PyExc_BufferError, "cannot close exported pointers exist");
        return NULL;
    }
    Py_RETURN_NONE;
}

static int get_buffer(PyObject *object, Py_buffer *buffer, int flags)
{
    SegmentObject *self = (SegmentObject *)object;
    uint32_t views;
    do {
        views = pp_load(&self->views);
        if (views >= CLOSED - 1) {
            PyErr_SetString(PyExc_ValueError, "the segment is closed");
            return -1;
        }
    } while (!pp_cas(&self->views, views, views + 1)); /* killed here: as above */
    if (PyBuffer_FillInfo(buffer, object, self->bytes, (Py_ssize_t)self->size, 0, flags) < 0) {
        pp_add(&self->views, (uint32_t)-1); /* killed here: as above */
        return -1;
    }
    return 0;
}

static void release_buffer(PyObject *object, Py_buffer *buffer)
{
    (void)buffer;
    pp_add(&((SegmentObject *)object)->views, (uint32_t)-1); /* killed here: as above */
}

static Py_ssize_t length(PyObject *self) { return (Py_ssize_t)((SegmentObject *)self)->size; }

static void dealloc(PyObject *object)
{
    SegmentObject *self = (SegmentObject *)object;
    PyTypeObject *type = Py_TYPE(object);
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);
    py_unmap(pp_load(&self->views) == CLOSED ? NULL : self->bytes, self->size);
    release(object);
    Py_DECREF(type);
}

static PyMethodDef methods[] = {
    {"close", py_segment_close, METH_NOARGS, "close(): unmap it; BufferError while there are views"},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_dealloc, dealloc}, {Py_tp_methods, methods}, {Py_mp_length, length},
    {Py_bf_getbuffer, get_buffer}, {Py_bf_releasebuffer, release_buffer}, {0, NULL},
};

PyType_Spec py_segment_spec = {
    "polyproc._core.Segment", sizeof(SegmentObject), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION, slots,
};

/* 8 digits of the time: who finds the name taken asks again, at another time. */
PyObject *py_marked_name(const char *mark, int64_t now)
{
    char name[sizeof PY_PREFIX + PY_MARK + 8] = PY_PREFIX;
    uint64_t mixed = (uint64_t)now * 0x9e3779b97f4a7c15u;
    size_t length = sizeof PY_PREFIX - 1 + strlen(mark);
    memcpy(name + sizeof PY_PREFIX - 1, mark, strlen(mark));
    for (int i = 0; i < 8; i++) {
        name[length++] = "0123456789abcdef"[mixed >> (60 - 4 * i) & 15];
    }
    return PyUnicode_FromStringAndSize(name, (Py_ssize_t)length);
}

PyObject *py_segment_name(PyObject *module, PyObject *ignored)
{
    (void)module;
    (void)ignored;
    return py_marked_name("", pp_now());
}
