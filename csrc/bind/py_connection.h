/* Connection: a handle to a descriptor. */
#ifndef PY_CONNECTION_H
#define PY_CONNECTION_H

#include "bind/py_cell.h"
#include "bind/py_greenlets.h"
#include "core/pp_handle.h"
#include "core/pp_handoff.h"

typedef struct {
    PyObject_HEAD
    struct pp_handle handle;
    pp_word readable, writable;
    pp_word spins;
    PyObject *dumps, *loads, *dumps_all;
    struct pp_handoff handoff;
    pp_word has_begun; /* _send_waiting has said that one waits */
} ConnectionObject;

void py_connection_close_now(ConnectionObject *self);

/* Afterwards, what pp_handle_use has said; errno stays. */
static inline void py_connection_leave(ConnectionObject *self, int fd)
{
    if (fd >= 0) {
        pp_handle_leave(&self->handle);
    }
}

/* Whether it is open, and for this direction; 0 with an exception set. */
int py_connection_usable(ConnectionObject *self, int to_write);

/* What to do after an errno in the middle of something: 1 go on, 0 an exception is set. `begun`: part of a message is
 * through; then it waits where it would not block otherwise, and if that fails the connection is closed, since its next
 * bytes would be taken for a header. */
/* Where other greenlets have to run: let them, until the descriptor is ready. 1: it is, and must not be waited for in the
 * kernel; 0: there are none; -1 with an exception. */
int py_connection_let_run(ConnectionObject *self, int to_write);

int py_connection_go_on(ConnectionObject *self, int error, int begun, int to_write);

/* await_soon(fd, learnt): wait for something to read, without the GIL; look for it first, where that has been worth it. */
PyObject *py_await_soon(PyObject *module, PyObject *const *args, Py_ssize_t count);

/* The methods of py_receive.c. */
PyObject *py_connection_recv(PyObject *self, PyObject *ignored);
PyObject *py_connection_recv_bytes(PyObject *self, PyObject *args, PyObject *names);
PyObject *py_connection_recv_bytes_into(PyObject *self, PyObject *args, PyObject *names);
PyObject *py_connection_poll(PyObject *self, PyObject *args, PyObject *names);

/* _send_waiting(obj): send an object, and have said before that one waits for the next message. */
PyObject *py_connection_send_waiting(PyObject *self, PyObject *obj);

/* _exchange(request) -> bytes: send an object, and wait for a message. */
PyObject *py_connection_exchange(PyObject *self, PyObject *request);

/* What send() makes of an object. */
PyObject *py_connection_pickled(PyObject *self, PyObject *obj);

/* Send a message: 1, or 0 with an exception set. */
int py_connection_send_all(ConnectionObject *self, const void *bytes, size_t size);

extern PyType_Spec py_connection_spec;

#endif
