/* Lines: the end of the tracker's pipe that this process writes to. What extends it has `_send(line)`, for a line that
 * cannot be put at once: the pipe is full, nobody reads it, or there is none. */
#include <stdio.h>
#include <unistd.h>

#include "bind/py_shared_memory.h"

#define LONGEST_LINE 512 /* PIPE_BUF of POSIX: a longer one could be torn */

typedef struct {
    PyObject_HEAD
    int fd;
} PyLines;

static PyObject *lines_new(PyTypeObject *type, PyObject *args, PyObject *names)
{
    (void)args;
    (void)names;
    PyLines *self = (PyLines *)((allocfunc)PyType_GetSlot(type, Py_tp_alloc))(type, 0);
    if (self != NULL) {
        self->fd = -1;
    }
    return (PyObject *)self;
}

static void lines_dealloc(PyObject *object)
{
    PyTypeObject *type = Py_TYPE(object);
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);
    release(object);
    Py_DECREF(type);
}

/* The pipe does not block, and the GIL is kept: nobody can close the descriptor meanwhile. */
static PyObject *put(PyLines *self, const char *format, const char *rtype, unsigned long long device,
                     unsigned long long inode, const char *name)
{
    char line[LONGEST_LINE + 1];
    int length = snprintf(line, sizeof line, format, rtype, device, inode, name);
    int fits = length > 0 && length < (int)sizeof line;
    if (fits && self->fd >= 0 && write(self->fd, line, (size_t)length) == length) {
        Py_RETURN_NONE;
    }
    PyObject *whole = PyUnicode_FromFormat(format, rtype, device, inode, name);
    PyObject *done = whole == NULL ? NULL : PyObject_CallMethod((PyObject *)self, "_send", "O", whole);
    Py_XDECREF(whole);
    return done;
}

static PyObject *lines_register(PyObject *object, PyObject *args, PyObject *names)
{
    static char *keywords[] = {"name", "rtype", "place", NULL};
    const char *name, *rtype;
    unsigned long long device = 0, inode = 0;
    if (!PyArg_ParseTupleAndKeywords(args, names, "ss|(KK):register", keywords, &name, &rtype, &device, &inode)) {
        return NULL;
    }
    return put((PyLines *)object, "REGISTER %s %llu %llu %s\n", rtype, device, inode, name);
}

static PyObject *lines_unregister(PyObject *object, PyObject *args, PyObject *names)
{
    static char *keywords[] = {"name", "rtype", NULL};
    const char *name, *rtype;
    if (!PyArg_ParseTupleAndKeywords(args, names, "ss:unregister", keywords, &name, &rtype)) {
        return NULL;
    }
    if (((PyLines *)object)->fd < 0) {
        Py_RETURN_NONE;
    }
    return put((PyLines *)object, "UNREGISTER %s %llu %llu %s\n", rtype, 0, 0, name);
}

static PyObject *get_fd(PyObject *self, void *ignored)
{
    (void)ignored;
    int fd = ((PyLines *)self)->fd;
    return fd < 0 ? Py_NewRef(Py_None) : PyLong_FromLong(fd);
}

static int set_fd(PyObject *self, PyObject *value, void *ignored)
{
    (void)ignored;
    long fd = value == NULL || value == Py_None ? -1 : PyLong_AsLong(value);
    if (PyErr_Occurred()) {
        return -1;
    }
    ((PyLines *)self)->fd = (int)fd;
    return 0;
}

static PyGetSetDef attributes[] = {
    {"_fd", get_fd, set_fd, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

#define WITH_NAMES(function) (PyCFunction)(void (*)(void))(function), METH_VARARGS | METH_KEYWORDS

static PyMethodDef methods[] = {
    {"register", WITH_NAMES(lines_register),
     "register($self, name, rtype, place=(0, 0))\n--\n\n"
     "Have a segment removed when its family has ended; `place` is its device and inode, zeros for any.\n\n"
     "Raises:\n    OSError: no tracker can be started."},
    {"unregister", WITH_NAMES(lines_unregister),
     "unregister($self, name, rtype)\n--\n\n"
     "Say that a segment was removed; nothing happens if nobody had it watched."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_new, lines_new}, {Py_tp_dealloc, lines_dealloc}, {Py_tp_methods, methods}, {Py_tp_getset, attributes},
    {0, NULL},
};

PyType_Spec py_lines_spec = {
    "polyproc._core.Lines", sizeof(PyLines), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE, slots,
};
