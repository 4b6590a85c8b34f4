/* Receiving from a Connection. */
#include "bind/py_connection.h"

#include <errno.h>
#include <string.h>

#include "bind/py_pickle.h"
#include "core/pp_frame.h"
#include "core/pp_futex.h"

#define SMALL ((size_t)1024)
#define MAX_BITS 47 /* of an address: no process has memory for more */
#define AT_ONCE ((size_t)1 << 20) /* memory that is taken for a message before any of it is there */

/* Wait for a message that is put before us: whether one was. `is_over`: it is to be read from the descriptor. */
static int wait_for_handoff(ConnectionObject *self, struct pp_receiving *receiving, char *small, int has_begun, int *is_over)
{
    size_t size = 0;
    enum pp_handoff_answer answer = has_begun ? pp_handoff_go_on(&self->handoff, small, &size)
                                              : pp_handoff_receive(&self->handoff, small, &size);
    *is_over = answer == PP_HANDOFF_READ;
    if (answer == PP_HANDED) {
        receiving->size = receiving->done = size;
    }
    return answer == PP_HANDED;
}

/* The length of the next message; 0 with an exception set. A small one may be in `small` already (SMALL bytes), if it was
 * handed over or is to be read along, without taking the GIL in between; the caller gets it from there. */
static int receive_header(ConnectionObject *self, struct pp_receiving *receiving, char *small, int along)
{
    int has_begun = pp_load_own(&self->has_begun) != 0;
    pp_store_own(&self->has_begun, 0);
    receiving->header_done = 0;
    receiving->done = 0;
    int reads = !has_begun && (self->handoff.chunk == NULL || py_greenlets());
    if (has_begun && pp_handoff_is_said(&self->handoff)) { /* what takes no time keeps the GIL */
        if (wait_for_handoff(self, receiving, small, 1, &reads)) {
            return 1;
        }
        has_begun = 0;
    }
    for (;;) {
        int is_ready = reads ? py_connection_let_run(self, 0) : 0;
        int error;
        if (is_ready < 0) {
            if (receiving->header_done != 0) {
                py_connection_close_now(self);
            }
            return 0;
        }
        int handed = 0;
        Py_BEGIN_ALLOW_THREADS
        handed = !reads && wait_for_handoff(self, receiving, small, has_begun, &reads);
        has_begun = 0;
        error = handed ? 0 : EINTR;
        if (reads) {
            int fd = pp_handle_use(&self->handle);
            error = pp_receive_header(fd, receiving, &self->spins);
            if (error == 0 && self->handoff.chunk != NULL) {
                pp_handoff_read(&self->handoff);
            }
            if (error == 0 && !is_ready && along && receiving->size <= SMALL) {
                /* What it says is said again when the rest is read. */
                (void)pp_receive_bytes(fd, receiving, small, (size_t)receiving->size);
            }
            py_connection_leave(self, fd);
        }
        Py_END_ALLOW_THREADS
        if (error == 0) {
            return 1;
        }
        if (error == EAGAIN) {
            pp_store_own(&self->handoff.is_hasty, 1);
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
static int receive_bytes(ConnectionObject *self, struct pp_receiving *receiving, char *bytes, size_t size)
{
    for (;;) {
        if (receiving->done < size && py_connection_let_run(self, 0) < 0) {
            py_connection_close_now(self);
            return 0;
        }
        int error;
        Py_BEGIN_ALLOW_THREADS
        int fd = pp_handle_use(&self->handle);
        error = pp_receive_bytes(fd, receiving, bytes, size);
        py_connection_leave(self, fd);
        Py_END_ALLOW_THREADS
        if (error == 0) {
            return 1;
        }
        if (!py_connection_go_on(self, error, 1, 0)) {
            return 0;
        }
    }
}

/* The message as bytes. Memory is asked for as bytes arrive, not as they are announced: all of it when an eighth of the
 * message is there, an eighth when an eighth of that is, and so on, so that a header that lies costs AT_ONCE at most. What
 * is copied from one place to the next is a seventh of the message in all. */
static PyObject *receive_in_parts(ConnectionObject *self, struct pp_receiving *receiving)
{
    uint64_t size = receiving->size;
    unsigned int shift = 0;
    while (size >> shift > AT_ONCE) {
        shift += 3;
    }
    PyObject *data = NULL;
    for (;;) {
        size_t part = (size_t)(size >> shift), done = receiving->done;
        PyObject *larger = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)part);
        if (larger == NULL) {
            Py_XDECREF(data);
            py_connection_close_now(self); /* the rest stays unread: nothing after it could be understood */
            return NULL;
        }
        if (data != NULL) {
            const char *from = PyBytes_AsString(data);
            char *to = PyBytes_AsString(larger);
            Py_BEGIN_ALLOW_THREADS
            memcpy(to, from, done);
            Py_END_ALLOW_THREADS
            Py_DECREF(data);
        }
        data = larger;
        if (!receive_bytes(self, receiving, PyBytes_AsString(data), part)) {
            Py_DECREF(data);
            return NULL;
        }
        if (shift == 0) {
            return data;
        }
        shift -= 3;
    }
}

static PyObject *receive_body(ConnectionObject *self, struct pp_receiving *receiving, char *small)
{
    if (receiving->size <= SMALL) {
        int whole = receiving->done == receiving->size
                    || receive_bytes(self, receiving, small, (size_t)receiving->size);
        return whole ? PyBytes_FromStringAndSize(small, (Py_ssize_t)receiving->size) : NULL;
    }
    if (receiving->size > (uint64_t)PY_SSIZE_T_MAX || receiving->size >> MAX_BITS != 0) {
        py_connection_close_now(self);
        return PyErr_NoMemory();
    }
    return receive_in_parts(self, receiving);
}

PyObject *py_connection_recv(PyObject *object, PyObject *ignored)
{
    (void)ignored;
    ConnectionObject *self = (ConnectionObject *)object;
    struct pp_receiving receiving;
    char small[SMALL];
    if (!py_connection_usable(self, 0) || !receive_header(self, &receiving, small, 1)) {
        return NULL;
    }
    return py_loads(&self->loads, receive_body(self, &receiving, small));
}

PyObject *py_connection_recv_bytes(PyObject *object, PyObject *args, PyObject *names)
{
    static char *keys[] = {"maxlength", NULL};
    ConnectionObject *self = (ConnectionObject *)object;
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
    if (!receive_header(self, &receiving, small, most >= (Py_ssize_t)SMALL)) {
        return NULL;
    }
    if (receiving.size > (uint64_t)most) {
        if (pp_load_own(&self->writable)) {
            pp_store_own(&self->readable, 0);
        } else {
            py_connection_close_now(self);
        }
        PyErr_SetString(PyExc_OSError, "bad message length");
        return NULL;
    }
    return receive_body(self, &receiving, small);
}

/* Send, having said that one waits for what comes next: 1, or 0 with an exception set. Only for those that are alone at
 * their end, and receive next: what comes meanwhile is seen by no poll. */
static int send_waiting(ConnectionObject *self, PyObject *obj)
{
    PyObject *data = py_connection_usable(self, 1) ? py_connection_pickled((PyObject *)self, obj) : NULL;
    if (data == NULL || !py_connection_usable(self, 1)) {
        Py_XDECREF(data);
        return 0;
    }
    int has_begun = self->handoff.chunk != NULL && !py_greenlets() && pp_handoff_begin(&self->handoff);
    int sent = py_connection_send_all(self, PyBytes_AsString(data), (size_t)PyBytes_Size(data));
    Py_DECREF(data);
    if (sent) {
        pp_store_own(&self->has_begun, (uint32_t)has_begun);
    } else if (has_begun && !pp_handoff_withdraw(&self->handoff)) {
        char small[PP_HANDOFF_ROOM];
        size_t size;
        if (pp_handoff_go_on(&self->handoff, small, &size) == PP_HANDED) {
            py_connection_close_now(self); /* what came would be missed */
        }
    }
    return sent;
}

PyObject *py_connection_send_waiting(PyObject *object, PyObject *obj)
{
    return send_waiting((ConnectionObject *)object, obj) ? Py_NewRef(Py_None) : NULL;
}

PyObject *py_connection_exchange(PyObject *object, PyObject *request)
{
    ConnectionObject *self = (ConnectionObject *)object;
    struct pp_receiving receiving;
    char small[SMALL];
    if (!py_connection_usable(self, 0) || !send_waiting(self, request)) {
        return NULL;
    }
    return receive_header(self, &receiving, small, 1) ? receive_body(self, &receiving, small) : NULL;
}

static PyObject *receive_into(ConnectionObject *self, Py_buffer *view, Py_ssize_t offset)
{
    struct pp_receiving receiving;
    char small[SMALL];
    if (offset < 0 || offset > view->len) {
        PyErr_SetString(PyExc_ValueError, offset < 0 ? "negative offset" : "offset too large");
        return NULL;
    }
    if (!receive_header(self, &receiving, small, 0)) {
        return NULL;
    }
    if (receiving.size > (uint64_t)(view->len - offset)) {
        PyObject *data = receive_body(self, &receiving, small);
        PyObject *errors = data == NULL ? NULL : PyImport_ImportModule("polyproc._base.errors");
        PyObject *kind = errors == NULL ? NULL : PyObject_GetAttrString(errors, "BufferTooShort");
        if (kind != NULL) {
            PyErr_SetObject(kind, data);
        }
        Py_XDECREF(kind);
        Py_XDECREF(errors);
        Py_XDECREF(data);
        return NULL;
    }
    if (receiving.done != 0) { /* it was handed over */
        memcpy((char *)view->buf + offset, small, receiving.done);
    } else if (!receive_bytes(self, &receiving, (char *)view->buf + offset, (size_t)receiving.size)) {
        return NULL;
    }
    return PyLong_FromUnsignedLongLong(receiving.size);
}

PyObject *py_connection_recv_bytes_into(PyObject *object, PyObject *args, PyObject *names)
{
    static char *keys[] = {"buf", "offset", NULL};
    ConnectionObject *self = (ConnectionObject *)object;
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

PyObject *py_await_soon(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    (void)module;
    Py_buffer memory;
    long fd = count == 2 ? PyLong_AsLong(args[0]) : -1;
    if (count != 2 || (fd == -1 && PyErr_Occurred()) || PyObject_GetBuffer(args[1], &memory, PyBUF_WRITABLE) < 0) {
        return PyErr_Occurred() ? NULL : PyErr_Format(PyExc_TypeError, "await_soon takes a descriptor and what was learnt");
    }
    struct pp_soon learnt;
    if (memory.len != sizeof(learnt)) {
        PyBuffer_Release(&memory);
        return PyErr_Format(PyExc_ValueError, "what was learnt has twelve bytes");
    }
    memcpy(&learnt, memory.buf, sizeof(learnt));
    int found;
    Py_BEGIN_ALLOW_THREADS
    found = pp_await_soon((int)fd, &learnt);
    Py_END_ALLOW_THREADS
    memcpy(memory.buf, &learnt, sizeof(learnt));
    PyBuffer_Release(&memory);
    return PyBool_FromLong(found);
}

PyObject *py_connection_poll(PyObject *object, PyObject *args, PyObject *names)
{
    static char *keys[] = {"timeout", NULL};
    ConnectionObject *self = (ConnectionObject *)object;
    PyObject *timeout = NULL;
    int64_t deadline = 0;
    if (!PyArg_ParseTupleAndKeywords(args, names, "|O", keys, &timeout) || !py_connection_usable(self, 0)
        || (timeout != NULL && !py_deadline(timeout, &deadline))) {
        return NULL;
    }
    for (;;) {
        int fd = pp_handle_use(&self->handle), error = fd < 0 ? EBADF : ENOSYS;
        if (fd >= 0 && deadline > 0 && py_greenlets()) {
            error = py_greenlets_await_fd(fd, 0, deadline);
        }
        if (error == ENOSYS) {
            Py_BEGIN_ALLOW_THREADS
            error = pp_await_fd(fd, 0, deadline);
            Py_END_ALLOW_THREADS
        }
        py_connection_leave(self, fd);
        if (error < 0) {
            return NULL;
        }
        if (error == 0 || error == ETIMEDOUT) {
            return PyBool_FromLong(error == 0);
        }
        if (!py_connection_go_on(self, error, 0, 0)) {
            return NULL;
        }
    }
}
