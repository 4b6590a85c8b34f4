/* Lines: what a SharedMemory asks the tracker each time. What extends it has `ensure_running()`, `register` and `unregister`.
 *
 * Of segments with names at random the tracker need not be told: their names begin with its mark. But it has to live, so it
 * is looked at, not oftener than each LOOK. */
#include "bind/py_cell.h"

#include <string.h>
#include <sys/mman.h>

#include "bind/py_shared_memory.h"

#define MAPPED 1 /* byte, which is a page; nobody looks at it */
#define LOOK 10000000 /* ns */

typedef struct {
    PyObject_HEAD
    void *mapping; /* keeps a file open, and a lock held, that no program closes with all its descriptors */
    pp_word replaced; /* a program has put something in place of a method (docs/adr/0010): it is asked for each segment */
    int64_t looked; /* when the tracker was last seen to live */
    char mark[PY_MARK + 1];
} LinesObject;

static PyObject *lines_new(PyTypeObject *type, PyObject *args, PyObject *names)
{
    (void)args;
    (void)names;
    return ((allocfunc)PyType_GetSlot(type, Py_tp_alloc))(type, 0);
}

static void unmap(LinesObject *self)
{
    if (self->mapping != NULL) {
        munmap(self->mapping, MAPPED);
        self->mapping = NULL;
    }
}

static void lines_dealloc(PyObject *object)
{
    PyTypeObject *type = Py_TYPE(object);
    unmap((LinesObject *)object);
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);
    release(object);
    Py_DECREF(type);
}

/* NULL for what is no Lines, or one that a program has put something into. */
static LinesObject *lines_of(PyObject *object)
{
    int is_one = py_class_with(object, lines_dealloc) != NULL && !pp_load_own(&((LinesObject *)object)->replaced);
    return is_one ? (LinesObject *)object : NULL;
}

int py_lines_are_replaced(PyObject *object) { return lines_of(object) == NULL; }

static int look(LinesObject *self, int64_t now, char *mark)
{
    if (self->mark[0] == '\0' || now - self->looked > LOOK) {
        PyObject *done = PyObject_CallMethod((PyObject *)self, "ensure_running", NULL);
        Py_XDECREF(done);
        if (done == NULL) {
            return -1;
        }
        self->looked = now;
    }
    memcpy(mark, self->mark, sizeof self->mark);
    return mark[0] != '\0';
}

int py_lines_mark(PyObject *object, int64_t now, char *mark)
{
    LinesObject *self = lines_of(object);
    int answer = 0;
    if (self != NULL) {
        PY_ALONE(object, answer = look(self, now, mark));
    }
    return answer;
}

/* A copy of its mark. */
static void copy_mark(LinesObject *self, char *mark)
{
    PY_ALONE((PyObject *)self, memcpy(mark, self->mark, sizeof self->mark));
}

int py_lines_cover(PyObject *object, PyObject *name)
{
    LinesObject *self = lines_of(object);
    const char *text = PyUnicode_AsUTF8AndSize(name, NULL);
    size_t length = strlen(PY_PREFIX);
    char mark[PY_MARK + 1] = "";
    if (self != NULL) {
        copy_mark(self, mark);
    }
    return text != NULL && mark[0] != '\0' && strncmp(text, PY_PREFIX, length) == 0 &&
           strncmp(text + length, mark, PY_MARK) == 0;
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
    int replaced = PyDict_GetItemString(own, "register") != NULL || PyDict_GetItemString(own, "unregister") != NULL;
    pp_store_own(&((LinesObject *)object)->replaced, (uint32_t)replaced);
    Py_DECREF(own);
    return 0;
}

static PyObject *get_mark(PyObject *self, void *ignored)
{
    (void)ignored;
    char mark[PY_MARK + 1];
    copy_mark((LinesObject *)self, mark);
    return PyUnicode_FromString(mark);
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
    PY_ALONE(self, memcpy(((LinesObject *)self)->mark, text, (size_t)length + 1));
    return 0;
}

static PyGetSetDef attributes[] = {
    {"_mark", get_mark, set_mark, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyObject *map_alone(LinesObject *self, long fd)
{
    unmap(self);
    if (fd >= 0) {
        void *place = mmap(NULL, MAPPED, PROT_NONE, MAP_SHARED, (int)fd, 0);
        if (place == MAP_FAILED) {
            return PyErr_SetFromErrno(PyExc_OSError);
        }
        self->mapping = place;
    }
    Py_RETURN_NONE;
}

static PyObject *lines_map(PyObject *object, PyObject *argument)
{
    long fd = PyLong_AsLong(argument);
    PyObject *done = NULL;
    if (!PyErr_Occurred()) {
        PY_ALONE(object, done = map_alone((LinesObject *)object, fd));
    }
    return done;
}

static PyMethodDef methods[] = {
    {"_map", lines_map, METH_O,
     "_map($self, fd, /)\n--\n\nKeep a file open by a mapping, in place of the one before; -1 for none."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_new, lines_new}, {Py_tp_dealloc, lines_dealloc}, {Py_tp_setattro, set_attribute}, {Py_tp_methods, methods},
    {Py_tp_getset, attributes}, {0, NULL},
};

PyType_Spec py_lines_spec = {
    "polyproc._core.Lines", sizeof(LinesObject), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE, slots,
};
