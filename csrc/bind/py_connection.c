/* Connection. The frames are in core/pp_frame; what is not plain data is pickled by polyproc._pickling.pickler. */
#include "bind/py_connection.h"

#include <errno.h>
#include <unistd.h>

#include "bind/py_pickle.h"
#include "core/pp_frame.h"
#include "core/pp_futex.h"
#include "core/pp_spin.h"

void py_connection_close_now(ConnectionObject *self)
{
    if (self->handoff.chunk != NULL && pp_handle_number(&self->handle) >= 0) {
        pp_handoff_close(&self->handoff);
    }
    pp_handle_close(&self->handle);
}

/* From now on it has another descriptor, and what is beside the one before is not its own. */
static void leave_handoff(ConnectionObject *self)
{
    if (self->handoff.chunk != NULL) {
        pp_store_own(&self->handoff.left, 1);
    }
}

static int is_closed(ConnectionObject *self) { return pp_handle_number(&self->handle) < 0; }

static PyObject *connection_new(PyTypeObject *type, PyObject *args, PyObject *names)
{
    (void)args;
    (void)names;
    allocfunc allocate = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    ConnectionObject *self = (ConnectionObject *)allocate(type, 0);
    if (self != NULL) {
        pp_handle_start(&self->handle);
    }
    return (PyObject *)self;
}

static int connection_init(PyObject *object, PyObject *args, PyObject *names)
{
    static char *keys[] = {"handle", "readable", "writable", NULL};
    ConnectionObject *self = (ConnectionObject *)object;
    PyObject *handle_object;
    int readable = 1, writable = 1;
    if (!PyArg_ParseTupleAndKeywords(args, names, "O|pp", keys, &handle_object, &readable, &writable)) {
        return -1;
    }
    PyObject *index = PyNumber_Index(handle_object);
    long handle = index == NULL ? -1 : PyLong_AsLong(index);
    Py_XDECREF(index);
    if (PyErr_Occurred()) {
        return -1;
    }
    if (handle < 0 || handle > INT32_MAX) {
        PyErr_SetString(PyExc_ValueError, "invalid handle");
        return -1;
    }
    if (!readable && !writable) {
        PyErr_SetString(PyExc_ValueError, "at least one of `readable` and `writable` must be True");
        return -1;
    }
    py_connection_close_now(self);
    leave_handoff(self);
    if (pp_handle_set(&self->handle, (int)handle) < 0) {
        PyErr_SetFromErrno(PyExc_OSError);
        return -1;
    }
    pp_store_own(&self->spins, pp_processors() > 1 ? PP_SPIN_START : PP_SPIN_NEVER);
    pp_store_own(&self->readable, (uint32_t)readable);
    pp_store_own(&self->writable, (uint32_t)writable);
    return 0;
}

static void connection_dealloc(PyObject *object)
{
    ConnectionObject *self = (ConnectionObject *)object;
    PyTypeObject *type = Py_TYPE(object);
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);
    py_connection_close_now(self);
    if (self->handoff.chunk != NULL) {
        pp_chunk_drop(self->handoff.chunk);
    }
    Py_XDECREF(self->dumps);
    Py_XDECREF(self->dumps_all);
    Py_XDECREF(self->loads);
    release(object);
    Py_DECREF(type);
}

int py_connection_usable(ConnectionObject *self, int to_write)
{
    const char *why = is_closed(self) ? PY_HANDLE_CLOSED
                      : to_write && !pp_load_own(&self->writable)
                          ? "connection is read-only: of Pipe(duplex=False) the second end sends"
                      : !to_write && !pp_load_own(&self->readable)
                          ? "connection is write-only: of Pipe(duplex=False) the first end receives"
                          : NULL;
    if (why != NULL) {
        PyErr_SetString(PyExc_OSError, why);
        return 0;
    }
    return 1;
}

int py_connection_let_run(ConnectionObject *self, int to_write)
{
    if (!py_greenlets()) {
        return 0;
    }
    int fd = pp_handle_use(&self->handle);
    int error = fd < 0 ? EBADF : py_greenlets_await_fd(fd, to_write, PP_FOREVER);
    if (fd >= 0) {
        pp_handle_leave(&self->handle);
    }
    if (error >= 0 && is_closed(self)) { /* one of them has closed it */
        PyErr_SetString(PyExc_OSError, "handle is closed");
        return -1;
    }
    return error < 0 ? -1 : error != ENOSYS;
}

int py_connection_go_on(ConnectionObject *self, int error, int begun, int to_write)
{
    if (error == EAGAIN && begun && !is_closed(self)) {
        int is_ready = py_connection_let_run(self, to_write);
        if (is_ready != 0) {
            if (is_ready < 0) {
                py_connection_close_now(self);
            }
            return is_ready > 0;
        }
        Py_BEGIN_ALLOW_THREADS
        int fd = pp_handle_use(&self->handle);
        error = fd < 0 ? EBADF : pp_await_fd(fd, to_write, PP_FOREVER);
        py_connection_leave(self, fd);
        Py_END_ALLOW_THREADS
        if (error == 0) {
            return 1;
        }
    }
    if (error == EINTR && PyErr_CheckSignals() == 0 && !is_closed(self)) {
        return 1;
    }
    if (!PyErr_Occurred()) {
        if (error == PP_END) {
            PyErr_SetString(PyExc_EOFError, "got end of file during message");
        } else if (error == PP_BAD) {
            PyErr_SetString(PyExc_OSError, "bad message length");
        } else if (is_closed(self)) {
            PyErr_SetString(PyExc_OSError, PY_HANDLE_CLOSED);
        } else {
            errno = error;
            PyErr_SetFromErrno(PyExc_OSError);
        }
    }
    if (error == PP_BAD || (begun && error != PP_END)) {
        py_connection_close_now(self);
    }
    return 0;
}

/* -- sending -- */

/* Put a message before the one who waits for it; whether that was done. */
static int hand_over(ConnectionObject *self, const void *bytes, size_t size)
{
    int fd = self->handoff.chunk == NULL ? -1 : pp_handle_use(&self->handle);
    int handed = fd >= 0 && pp_handoff_send(&self->handoff, fd, bytes, size);
    py_connection_leave(self, fd);
    return handed;
}

static int not_sent(ConnectionObject *self, struct pp_sending *sending)
{
    if (self->handoff.chunk != NULL && sending->done == 0) {
        pp_handoff_unsent(&self->handoff);
    }
    return 0;
}

int py_connection_send_all(ConnectionObject *self, const void *bytes, size_t size)
{
    struct pp_sending sending;
    pp_send_start(&sending, bytes, size);
    if (hand_over(self, bytes, size)) {
        return 1;
    }
    for (;;) {
        int is_ready = py_connection_let_run(self, 1);
        int error;
        if (is_ready < 0) {
            if (sending.done != 0) {
                py_connection_close_now(self);
            }
            return not_sent(self, &sending);
        }
        Py_BEGIN_ALLOW_THREADS
        int fd = pp_handle_use(&self->handle);
        error = is_ready ? pp_send_now(fd, &sending) : pp_send(fd, &sending);
        py_connection_leave(self, fd);
        Py_END_ALLOW_THREADS
        if (is_ready && error == EAGAIN) { /* somebody else has used the room */
            error = EINTR;
        }
        if (error == 0) {
            return 1;
        }
        if (!py_connection_go_on(self, error, sending.done != 0, 1)) {
            return not_sent(self, &sending);
        }
    }
}

static PyObject *send_all(ConnectionObject *self, const void *bytes, size_t size)
{
    return py_connection_send_all(self, bytes, size) ? Py_NewRef(Py_None) : NULL;
}

PyObject *py_connection_pickled(PyObject *object, PyObject *obj)
{
    ConnectionObject *self = (ConnectionObject *)object;
    PyObject *data;
    if (py_is_plain(obj)) {
        data = py_dumps_plain(&self->dumps, obj);
    } else {
        PyObject *dumps_all = py_first(&self->dumps_all);
        if (dumps_all == NULL) {
            PyObject *module = PyImport_ImportModule("polyproc._pickling.pickler");
            PyObject *made = module == NULL ? NULL : PyObject_GetAttrString(module, "dumps_through");
            Py_XDECREF(module);
            dumps_all = py_keep_first(&self->dumps_all, made);
        }
        PyObject *through = dumps_all == NULL ? NULL : PyObject_GetAttrString(object, "fileno");
        data = through == NULL ? NULL : PyObject_CallFunctionObjArgs(dumps_all, obj, through, NULL);
        Py_XDECREF(through);
    }
    return data;
}

static PyObject *connection_send(PyObject *object, PyObject *obj)
{
    ConnectionObject *self = (ConnectionObject *)object;
    PyObject *data = py_connection_usable(self, 1) ? py_connection_pickled(object, obj) : NULL;
    if (data == NULL) {
        return NULL;
    }
    PyObject *result = NULL;
    if (py_connection_usable(self, 1)) { /* pickling may have run anything */
        result = send_all(self, PyBytes_AsString(data), (size_t)PyBytes_Size(data));
    }
    Py_DECREF(data);
    return result;
}

static PyObject *connection_send_bytes(PyObject *object, PyObject *args, PyObject *names)
{
    static char *keys[] = {"buf", "offset", "size", NULL};
    ConnectionObject *self = (ConnectionObject *)object;
    PyObject *buf, *size_object = Py_None;
    Py_ssize_t offset = 0, size = 0;
    if (!py_connection_usable(self, 1)
        || !PyArg_ParseTupleAndKeywords(args, names, "O|nO", keys, &buf, &offset, &size_object)) {
        return NULL;
    }
    Py_buffer view;
    if (PyObject_GetBuffer(buf, &view, PyBUF_SIMPLE) < 0) {
        py_misuse("not_sent", buf);
        return NULL;
    }
    const char *why = offset < 0 ? "offset is negative" : view.len < offset ? "buffer length < offset" : NULL;
    size = view.len - offset;
    if (why == NULL && size_object != Py_None) {
        size = PyNumber_AsSsize_t(size_object, PyExc_OverflowError);
        why = size < 0 ? "size is negative" : size > view.len - offset ? "buffer length < offset + size" : NULL;
    }
    PyObject *result = NULL;
    if (why != NULL && !PyErr_Occurred()) {
        PyErr_SetString(PyExc_ValueError, why);
    }
    if (!PyErr_Occurred()) {
        result = send_all(self, (char *)view.buf + offset, (size_t)size);
    }
    PyBuffer_Release(&view);
    return result;
}

static PyObject *connection_send_packed(PyObject *object, PyObject *data)
{
    ConnectionObject *self = (ConnectionObject *)object;
    Py_buffer view;
    if (!py_connection_usable(self, 1) || PyObject_GetBuffer(data, &view, PyBUF_SIMPLE) < 0) {
        return NULL;
    }
    PyObject *result = send_all(self, view.buf, (size_t)view.len);
    PyBuffer_Release(&view);
    return result;
}

/* -- state -- */

static PyObject *connection_fileno(PyObject *object, PyObject *ignored)
{
    (void)ignored;
    int number = pp_handle_number(&((ConnectionObject *)object)->handle);
    if (number < 0) {
        PyErr_SetString(PyExc_OSError, PY_HANDLE_CLOSED);
        return NULL;
    }
    return PyLong_FromLong(number);
}

static PyObject *connection_close(PyObject *object, PyObject *ignored)
{
    (void)ignored;
    py_connection_close_now((ConnectionObject *)object);
    Py_RETURN_NONE;
}

static PyObject *connection_enter(PyObject *object, PyObject *ignored)
{
    (void)ignored;
    return Py_NewRef(object);
}

static PyObject *connection_exit(PyObject *object, PyObject *const *args, Py_ssize_t count)
{
    (void)args;
    (void)count;
    return connection_close(object, NULL);
}

static PyObject *get_closed(PyObject *self, void *ignored)
{
    (void)ignored;
    return PyBool_FromLong(is_closed((ConnectionObject *)self));
}

static PyObject *get_readable(PyObject *self, void *ignored)
{
    (void)ignored;
    return PyBool_FromLong((long)pp_load_own(&((ConnectionObject *)self)->readable));
}

static PyObject *get_writable(PyObject *self, void *ignored)
{
    (void)ignored;
    return PyBool_FromLong((long)pp_load_own(&((ConnectionObject *)self)->writable));
}

static PyObject *get_handle(PyObject *self, void *ignored)
{
    (void)ignored;
    int handle = pp_handle_number(&((ConnectionObject *)self)->handle);
    return handle < 0 ? Py_NewRef(Py_None) : PyLong_FromLong(handle);
}

/* Programs give the descriptor up by `connection._handle = None`. */
static int set_handle(PyObject *self, PyObject *value, void *ignored)
{
    (void)ignored;
    long handle = value == NULL || value == Py_None ? -1 : PyLong_AsLong(value);
    if (handle == -1 && PyErr_Occurred()) {
        return -1;
    }
    leave_handoff((ConnectionObject *)self);
    if (pp_handle_set(&((ConnectionObject *)self)->handle, (int)handle) < 0) {
        PyErr_SetFromErrno(PyExc_OSError);
        return -1;
    }
    return 0;
}

/* -- the short cut beside the descriptor (core/pp_handoff.h) -- */

/* _meet(other, beside): a new one for two ends that are connected; None: the other end is in another process. */
static PyObject *connection_meet(PyObject *object, PyObject *args)
{
    ConnectionObject *self = (ConnectionObject *)object, *other;
    PyObject *other_object;
    unsigned int beside;
    if (!PyArg_ParseTuple(args, "OI", &other_object, &beside)) {
        return NULL;
    }
    other = (ConnectionObject *)other_object;
    int is_here = other_object != Py_None;
    if (self->handoff.chunk != NULL
        || (is_here && (py_class_with(other_object, connection_dealloc) == NULL || other->handoff.chunk != NULL))
        || self == other) {
        PyErr_SetString(PyExc_ValueError, "two connections are wanted that have not met");
        return NULL;
    }
    if (pp_handoff_make(&self->handoff, is_here ? &other->handoff : NULL, beside) < 0) {
        return PyErr_SetFromErrno(PyExc_OSError);
    }
    Py_RETURN_NONE;
}

/* _where() -> (id of the chunk, offset), and _side() -> number: what _join needs in another process. */
static PyObject *connection_where(PyObject *object, PyObject *ignored)
{
    (void)ignored;
    struct pp_handoff *handoff = &((ConnectionObject *)object)->handoff;
    if (handoff->chunk == NULL || pp_load_own(&handoff->left)) {
        Py_RETURN_NONE;
    }
    return Py_BuildValue("y#k", (char *)handoff->chunk->id, (Py_ssize_t)PP_ID_SIZE, (unsigned long)handoff->offset);
}

static PyObject *connection_side(PyObject *object, PyObject *ignored)
{
    (void)ignored;
    struct pp_handoff *handoff = &((ConnectionObject *)object)->handoff;
    return PyLong_FromUnsignedLong(handoff->side | handoff->beside << 1);
}

/* _join(id, offset, side) */
static PyObject *connection_join(PyObject *object, PyObject *args)
{
    ConnectionObject *self = (ConnectionObject *)object;
    char *id = NULL;
    Py_ssize_t length = 0;
    unsigned long offset, side;
    if (!PyArg_ParseTuple(args, "y#kk", &id, &length, &offset, &side)) {
        return NULL;
    }
    struct pp_chunk *chunk =
        self->handoff.chunk == NULL && length == PP_ID_SIZE ? pp_chunk_find((unsigned char *)id) : NULL;
    if (chunk == NULL || offset > UINT32_MAX
        || !pp_handoff_adopt(&self->handoff, chunk, (uint32_t)offset, (uint32_t)(side & 1), (uint32_t)(side >> 1 & 3))) {
        if (chunk != NULL) {
            pp_chunk_drop(chunk);
        }
        PyErr_SetString(PyExc_ValueError, "there is no shared object of this kind at this place");
        return NULL;
    }
    Py_RETURN_NONE;
}

#define FAST(function) ((PyCFunction)(void (*)(void))(function))
#define KEYS (METH_VARARGS | METH_KEYWORDS)

static PyMethodDef methods[] = {
    {"send", connection_send, METH_O,
     "send($self, obj, /)\n--\n\n"
     "Send an object. Blocks while the kernel has no room; BrokenPipeError when nobody can read."},
    {"recv", py_connection_recv, METH_NOARGS,
     "recv($self, /)\n--\n\n"
     "Wait for an object and return it. EOFError when the other end is gone."},
    {"send_bytes", FAST(connection_send_bytes), KEYS,
     "send_bytes($self, buf, offset=0, size=None)\n--\n\n"
     "Send bytes as one message. Blocks as `send`."},
    {"recv_bytes", FAST(py_connection_recv_bytes), KEYS,
     "recv_bytes($self, maxlength=None)\n--\n\n"
     "Wait for a message of bytes. OSError for one that is longer than `maxlength`."},
    {"recv_bytes_into", FAST(py_connection_recv_bytes_into), KEYS,
     "recv_bytes_into($self, buf, offset=0)\n--\n\n"
     "Wait for a message, put it into a buffer, return its length. BufferTooShort has one that is too long."},
    {"_send_bytes", connection_send_packed, METH_O, "_send_bytes(data)"},
    {"_send_waiting", py_connection_send_waiting, METH_O, "_send_waiting(obj)"},
    {"_exchange", py_connection_exchange, METH_O, "_exchange(obj) -> bytes"},
    {"_meet", connection_meet, METH_VARARGS, "_meet(other, beside)"},
    {"_where", connection_where, METH_NOARGS, "_where() -> (id, offset), or None"},
    {"_side", connection_side, METH_NOARGS, "_side() -> int"},
    {"_join", connection_join, METH_VARARGS, "_join(id, offset, side)"},
    {"poll", FAST(py_connection_poll), KEYS,
     "poll($self, timeout=0.0)\n--\n\n"
     "Return whether something can be received, waiting up to `timeout` seconds; None waits without limit."},
    {"fileno", connection_fileno, METH_NOARGS,
     "fileno($self, /)\n--\n\n"
     "Return the descriptor."},
    {"close", connection_close, METH_NOARGS,
     "close($self, /)\n--\n\n"
     "Close this end. Nothing happens when it is closed."},
    {"__enter__", connection_enter, METH_NOARGS, "return self"},
    {"__exit__", FAST(connection_exit), METH_FASTCALL, "close"},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef attributes[] = {
    {"closed", get_closed, NULL, "Whether it is closed.", NULL},
    {"readable", get_readable, NULL, "Whether one can receive.", NULL},
    {"writable", get_writable, NULL, "Whether one can send.", NULL},
    {"_handle", get_handle, set_handle, "the descriptor, or None", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_new, connection_new}, {Py_tp_init, connection_init}, {Py_tp_dealloc, connection_dealloc},
    {Py_tp_methods, methods}, {Py_tp_getset, attributes}, {0, NULL},
};

PyType_Spec py_connection_spec = {
    "polyproc._core.Connection", sizeof(ConnectionObject), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE, slots,
};
