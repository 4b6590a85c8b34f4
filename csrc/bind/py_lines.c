/* Lines: the end of the tracker's pipe that this process writes to. What extends it has `_send(line)`, for a line that
 * cannot be put at once: the pipe is full, nobody reads it, or there is none; and `ensure_running()`.
 *
 * Of segments with names at random the tracker needs no line: their names begin with its mark. But it has to live. A line
 * that nobody reads tells that it does not; where there are no lines, it is looked at, not oftener than each LOOK. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "bind/py_cell.h"
#include "bind/py_shared_memory.h"

#define LONGEST_LINE 512 /* PIPE_BUF of POSIX: a longer one could be torn */

#define LOOK 10000000 /* ns */

typedef struct {
    PyObject_HEAD
    int fd;
    int replaced;   /* a program has put something in place of a method (docs/adr/0010): it is asked for each segment */
    int64_t looked; /* when the tracker was last seen to live */
    char mark[PY_MARK + 1];
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

/* NULL for what is no Lines, or one that a program has put something into. */
static PyLines *lines_of(PyObject *object)
{
    return py_class_with(object, lines_dealloc) == NULL || ((PyLines *)object)->replaced ? NULL : (PyLines *)object;
}

int py_lines_are_replaced(PyObject *object) { return lines_of(object) == NULL; }

int py_lines_mark(PyObject *object, int64_t now, char *mark)
{
    PyLines *self = lines_of(object);
    if (self == NULL) {
        return 0;
    }
    if (self->fd < 0 || now - self->looked > LOOK) {
        PyObject *done = PyObject_CallMethod(object, "ensure_running", NULL);
        Py_XDECREF(done);
        if (done == NULL) {
            return -1;
        }
        self->looked = now;
    }
    memcpy(mark, self->mark, sizeof self->mark);
    return self->fd >= 0 && mark[0] != '\0';
}

int py_lines_cover(PyObject *object, PyObject *name)
{
    PyLines *self = lines_of(object);
    const char *text = PyUnicode_AsUTF8AndSize(name, NULL);
    size_t length = strlen(PY_PREFIX);
    return self != NULL && text != NULL && self->mark[0] != '\0' && strncmp(text, PY_PREFIX, length) == 0 &&
           strncmp(text + length, self->mark, PY_MARK) == 0;
}

static int set_attribute(PyObject *object, PyObject *name, PyObject *value)
{
    if (PyObject_GenericSetAttr(object, name, value) < 0) {
        return -1;
    }
    PyObject *own = PyObject_GenericGetDict(object, NULL);
    if (own == NULL) {
        return -1;
    }
    ((PyLines *)object)->replaced =
        PyDict_GetItemString(own, "register") != NULL || PyDict_GetItemString(own, "unregister") != NULL;
    Py_DECREF(own);
    return 0;
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

/* name, rtype, place=(0, 0) */
static PyObject *put_arguments(PyObject *self, PyObject *args, PyObject *names, const char *format)
{
    static char *keywords[] = {"name", "rtype", "place", NULL};
    const char *name, *rtype;
    unsigned long long device = 0, inode = 0;
    if (!PyArg_ParseTupleAndKeywords(args, names, "ss|(KK)", keywords, &name, &rtype, &device, &inode)) {
        return NULL;
    }
    return put((PyLines *)self, format, rtype, device, inode, name);
}

static PyObject *lines_register(PyObject *self, PyObject *args, PyObject *names)
{
    return put_arguments(self, args, names, "REGISTER %s %llu %llu %s\n");
}

static PyObject *lines_unregister(PyObject *self, PyObject *args, PyObject *names)
{
    if (((PyLines *)self)->fd < 0) {
        Py_RETURN_NONE;
    }
    return put_arguments(self, args, names, "UNREGISTER %s %llu %llu %s\n");
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

static PyObject *get_mark(PyObject *self, void *ignored)
{
    (void)ignored;
    return PyUnicode_FromString(((PyLines *)self)->mark);
}

static int set_mark(PyObject *self, PyObject *value, void *ignored)
{
    (void)ignored;
    Py_ssize_t length = 0;
    const char *text = value == NULL ? NULL : PyUnicode_AsUTF8AndSize(value, &length);
    if (text == NULL || (length != 0 && (size_t)length != PY_MARK)) {
        PyErr_SetString(PyExc_ValueError, "a mark has 12 digits, or none");
        return -1;
    }
    memcpy(((PyLines *)self)->mark, text, (size_t)length + 1);
    return 0;
}

static PyGetSetDef attributes[] = {
    {"_fd", get_fd, set_fd, NULL, NULL},
    {"_mark", get_mark, set_mark, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

#define WITH_NAMES(function) (PyCFunction)(void (*)(void))(function), METH_VARARGS | METH_KEYWORDS

static PyMethodDef methods[] = {
    {"register", WITH_NAMES(lines_register),
     "register($self, name, rtype, place=(0, 0))\n--\n\n"
     "Have a segment removed when its family has ended; `place` is its device and inode, zeros for any.\n\n"
     "Raises:\n    OSError: no tracker can be started."},
    {"unregister", WITH_NAMES(lines_unregister),
     "unregister($self, name, rtype, place=(0, 0))\n--\n\n"
     "Say that a segment was removed, or is to stay; nothing happens if nobody had it watched."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_new, lines_new}, {Py_tp_dealloc, lines_dealloc}, {Py_tp_setattro, set_attribute}, {Py_tp_methods, methods},
    {Py_tp_getset, attributes}, {0, NULL},
};

PyType_Spec py_lines_spec = {
    "polyproc._core.Lines", sizeof(PyLines), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE, slots,
};
