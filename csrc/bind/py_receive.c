/* Receiving from a Connection. */
#include "bind/py_connection.h"

#include <errno.h>

#include "bind/py_pickle.h"
#include "core/pp_frame.h"
#include "core/pp_futex.h"

#define SMALL ((size_t)1024)

/* The length of the next message; 0 with an exception set. A small one is read along, to `small`, without taking the
 * GIL in between; the caller gets it from there. */
static int receive_header(PyConnection *self, struct pp_receiving *receiving, char *small)
{
    receiving->header_done = 0;
    receiving->done = 0;
    for (;;) {
        int error, fd = self->handle;
        Py_BEGIN_ALLOW_THREADS
        error = pp_receive_header(fd, receiving, &self->spins);
        if (error == 0 && small != NULL && receiving->size <= SMALL) {
            /* What it says is said again when the rest is read. */
            (void)pp_receive_bytes(fd, receiving, small, (size_t)receiving->size);
        }
        Py_END_ALLOW_THREADS
        if (error == 0) {
            return 1;
        }
        if (error == PP_END && receiving->header_done == 0) {
            PyErr_SetNone(PyExc_EOFError);
            return 0;
        }
        if (!py_connection_go_on(self, error, receiving->header_done != 0, 0)) {
            return 0;
        }
    }
}

/* The next `size` bytes of the message in all. */
static int receive_bytes(PyConnection *self, struct pp_receiving *receiving, char *bytes, size_t size)
{
    for (;;) {
        int error, fd = self->handle;
        Py_BEGIN_ALLOW_THREADS
        error = pp_receive_bytes(fd, receiving, bytes, size);
        Py_END_ALLOW_THREADS
        if (error == 0) {
            return 1;
        }
        if (!py_connection_go_on(self, error, 1, 0)) {
            return 0;
        }
    }
}

/* The message as bytes, read straight into the object. What a header announces is asked of the system as address space:
 * memory is used as bytes arrive, so a header that lies costs nothing. */
static PyObject *receive_body(PyConnection *self, struct pp_receiving *receiving, char *small)
{
    PyObject *data = NULL;
    if (small != NULL && receiving->size <= SMALL) {
        int whole = receiving->done == receiving->size
                    || receive_bytes(self, receiving, small, (size_t)receiving->size);
        return whole ? PyBytes_FromStringAndSize(small, (Py_ssize_t)receiving->size) : NULL;
    }
    if (receiving->size <= (uint64_t)PY_SSIZE_T_MAX) {
        data = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)receiving->size);
    } else {
        PyErr_NoMemory();
    }
    if (data == NULL) {
        py_connection_close_now(self); /* the rest stays unread: nothing after it could be understood */
    } else if (!receive_bytes(self, receiving, PyBytes_AsString(data), (size_t)receiving->size)) {
        Py_CLEAR(data);
    }
    return data;
}

PyObject *py_connection_recv(PyObject *object, PyObject *ignored)
{
    (void)ignored;
    PyConnection *self = (PyConnection *)object;
    struct pp_receiving receiving;
    char small[SMALL];
    if (!py_connection_usable(self, 0) || !receive_header(self, &receiving, small)) {
        return NULL;
    }
    return py_loads(&self->loads, receive_body(self, &receiving, small));
}

PyObject *py_connection_recv_bytes(PyObject *object, PyObject *args, PyObject *names)
{
    static char *keys[] = {"maxlength", NULL};
    PyConnection *self = (PyConnection *)object;
    PyObject *most_object = Py_None;
    struct pp_receiving receiving;
    char small[SMALL];
    if (!PyArg_ParseTupleAndKeywords(args, names, "|O", keys, &most_object) || !py_connection_usable(self, 0)) {
        return NULL;
    }
    Py_ssize_t most = most_object == Py_None ? PY_SSIZE_T_MAX : PyNumber_AsSsize_t(most_object, NULL);
    if (most == -1 && PyErr_Occurred()) {
        return NULL;
    }
    if (most < 0) {
        PyErr_SetString(PyExc_ValueError, "negative maxlength");
        return NULL;
    }
    if (!receive_header(self, &receiving, most >= (Py_ssize_t)SMALL ? small : NULL)) {
        return NULL;
    }
    if (receiving.size > (uint64_t)most) {
        if (self->writable) {
            self->readable = 0;
        } else {
            py_connection_close_now(self);
        }
        PyErr_SetString(PyExc_OSError, "bad message length");
        return NULL;
    }
    return receive_body(self, &receiving, most >= (Py_ssize_t)SMALL ? small : NULL);
}

static PyObject *receive_into(PyConnection *self, Py_buffer *view, Py_ssize_t offset)
{
    struct pp_receiving receiving;
    if (offset < 0 || offset > view->len) {
        PyErr_SetString(PyExc_ValueError, offset < 0 ? "negative offset" : "offset too large");
        return NULL;
    }
    if (!receive_header(self, &receiving, NULL)) {
        return NULL;
    }
    if (receiving.size > (uint64_t)(view->len - offset)) {
        PyObject *data = receive_body(self, &receiving, NULL);
        PyObject *errors = data == NULL ? NULL : PyImport_ImportModule("polyproc._errors");
        PyObject *kind = errors == NULL ? NULL : PyObject_GetAttrString(errors, "BufferTooShort");
        if (kind != NULL) {
            PyErr_SetObject(kind, data);
        }
        Py_XDECREF(kind);
        Py_XDECREF(errors);
        Py_XDECREF(data);
        return NULL;
    }
    if (!receive_bytes(self, &receiving, (char *)view->buf + offset, (size_t)receiving.size)) {
        return NULL;
    }
    return PyLong_FromUnsignedLongLong(receiving.size);
}

PyObject *py_connection_recv_bytes_into(PyObject *object, PyObject *args, PyObject *names)
{
    static char *keys[] = {"buf", "offset", NULL};
    PyConnection *self = (PyConnection *)object;
    PyObject *buf;
    Py_ssize_t offset = 0;
    Py_buffer view;
    if (!PyArg_ParseTupleAndKeywords(args, names, "O|n", keys, &buf, &offset) || !py_connection_usable(self, 0)
        || PyObject_GetBuffer(buf, &view, PyBUF_WRITABLE) < 0) {
        return NULL;
    }
    PyObject *result = receive_into(self, &view, offset);
    PyBuffer_Release(&view);
    return result;
}

PyObject *py_connection_poll(PyObject *object, PyObject *args, PyObject *names)
{
    static char *keys[] = {"timeout", NULL};
    PyConnection *self = (PyConnection *)object;
    PyObject *timeout = NULL;
    int64_t deadline = 0;
    if (!PyArg_ParseTupleAndKeywords(args, names, "|O", keys, &timeout) || !py_connection_usable(self, 0)
        || (timeout != NULL && !py_deadline(timeout, &deadline))) {
        return NULL;
    }
    for (;;) {
        int error, fd = self->handle;
        Py_BEGIN_ALLOW_THREADS
        error = pp_await_fd(fd, 0, deadline);
        Py_END_ALLOW_THREADS
        if (error == 0 || error == ETIMEDOUT) {
            return PyBool_FromLong(error == 0);
        }
        if (!py_connection_go_on(self, error, 0, 0)) {
            return NULL;
        }
    }
}
