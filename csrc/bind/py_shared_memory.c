/* SharedMemory: what is done for each segment, in C because all of it is three system calls of a microsecond each.
 * The class that programs see, polyproc._memory.segment.SharedMemory, extends it by
 *
 *     _make_filename() -> a name for a segment that was given none, if that is not segment_name (docs/adr/0010)
 *     _tracker, its register(name, "shared_memory", (device, inode)) and unregister(name, "shared_memory")
 *
 * The object has the mapping until somebody asks for `buf`. Then a Segment gets it: views refer to that, and not to the
 * SharedMemory, which so is closed with its last reference.
 */
#include "bind/py_cell.h"
#include "bind/py_shared_memory.h"

#include <stddef.h>
#include <structmember.h>
#include <unistd.h>

/* -- life -- */

static PyObject *memory_new(PyTypeObject *type, PyObject *args, PyObject *names)
{
    (void)args;
    (void)names;
    SharedMemoryObject *self = (SharedMemoryObject *)((allocfunc)PyType_GetSlot(type, Py_tp_alloc))(type, 0);
    if (self != NULL) {
        self->name = Py_NewRef(Py_None);
        self->fd = -1;
    }
    return (PyObject *)self;
}

/* What changes or looks at more than one of its parts has it alone. */

static PyObject *close_alone(SharedMemoryObject *self)
{
    if (self->view != NULL) {
        PyObject *done = PyObject_CallMethod(self->view, "release", NULL);
        if (done == NULL) {
            return NULL;
        }
        Py_DECREF(done);
        Py_CLEAR(self->view);
    }
    if (self->segment != NULL) {
        PyObject *done = py_segment_close(self->segment, NULL);
        if (done == NULL) {
            return NULL;
        }
        Py_DECREF(done);
        Py_CLEAR(self->segment);
    }
    py_named_let_go(self);
    Py_RETURN_NONE;
}

static PyObject *memory_close(PyObject *object, PyObject *ignored)
{
    (void)ignored;
    PyObject *done;
    PY_ALONE(object, done = close_alone((SharedMemoryObject *)object));
    return done;
}

/* The arguments name=None, create=False, size=0, *, track=True; NULL for those that are not given. The parser of the
 * interpreter, which takes longer than the rest of this file, is asked for its error alone. */
static int arguments(PyObject *args, PyObject *names, PyObject **values)
{
    static char *keywords[] = {"name", "create", "size", "track", NULL};
    PyObject *key, *value;
    Py_ssize_t place = 0, count = PyTuple_Size(args);
    int fits = count <= 3;
    for (Py_ssize_t i = 0; fits && i < count; i++) {
        values[i] = PyTuple_GetItem(args, i);
    }
    while (fits && names != NULL && PyDict_Next(names, &place, &key, &value)) {
        int i = 0;
        while (i < 4 && PyUnicode_CompareWithASCIIString(key, keywords[i]) != 0) {
            i++;
        }
        fits = i < 4 && values[i] == NULL;
        if (fits) {
            values[i] = value;
        }
    }
    return fits || PyArg_ParseTupleAndKeywords(args, names, "|OOO$O:SharedMemory", keywords, &values[0], &values[1],
                                               &values[2], &values[3]);
}

static int init_alone(SharedMemoryObject *self, PyObject *args, PyObject *names)
{
    PyObject *values[4] = {NULL, NULL, NULL, NULL};
    if (!arguments(args, names, values)) {
        return -1;
    }
    PyObject *name = values[0] == NULL ? Py_None : values[0];
    int making = values[1] == NULL ? 0 : PyObject_IsTrue(values[1]);
    Py_ssize_t size = values[2] == NULL ? 0 : PyNumber_AsSsize_t(values[2], PyExc_OverflowError);
    if (size == -1 && PyErr_Occurred()) {
        py_misuse("no_size", values[2]);
        return -1;
    }
    int track = values[3] == NULL ? 1 : PyObject_IsTrue(values[3]);
    if (PyErr_Occurred()) {
        return -1;
    }
    const char *wrong = size < 0 ? "'size' must be a positive integer"
                        : making && size == 0 ? "'size' must be a positive number different from zero"
                        : !making && name == Py_None ? "'name' can only be None if create=True"
                                                     : NULL;
    if (wrong != NULL || (name != Py_None && !PyUnicode_Check(name))) {
        if (wrong != NULL) {
            PyErr_SetString(PyExc_ValueError, wrong);
        } else {
            PyErr_Format(PyExc_TypeError, "the name of a segment must be a str, and not %.60R: write size=... for its size", name);
        }
        return -1;
    }
    PyObject *closed = close_alone(self); /* nothing, unless this is called a second time */
    if (closed == NULL) {
        return -1;
    }
    Py_DECREF(closed);
    self->track = (char)track;
    self->size = size;
    if (name == Py_None) {
        return py_named_create_somewhere(self);
    }
    if (py_named_own(self, PyUnicode_FromFormat("/%U", name)) < 0) {
        return -1;
    }
    return making ? py_named_create(self) : py_named_attach(self);
}

static int memory_init(PyObject *object, PyObject *args, PyObject *names)
{
    int result;
    PY_ALONE(object, result = init_alone((SharedMemoryObject *)object, args, names));
    return result;
}

static PyObject *memory_unlink(PyObject *object, PyObject *ignored)
{
    (void)ignored;
    int result;
    PY_ALONE(object, result = py_named_unlink((SharedMemoryObject *)object));
    return result < 0 ? NULL : Py_NewRef(Py_None);
}

static void memory_finalize(PyObject *object)
{
    SharedMemoryObject *self = (SharedMemoryObject *)object;
    if (self->fd < 0 && self->bytes == NULL && self->segment == NULL) {
        return;
    }
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    PyObject *done = PyObject_CallMethod(object, "close", NULL);
    Py_XDECREF(done);
    PyErr_Clear(); /* BufferError: somebody still has a view of it, and it is unmapped with the last */
    PyErr_Restore(type, value, traceback);
}

static void memory_dealloc(PyObject *object)
{
    SharedMemoryObject *self = (SharedMemoryObject *)object;
    PyTypeObject *type = Py_TYPE(object);
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);
    py_named_let_go(self);
    Py_XDECREF(self->view);
    Py_XDECREF(self->segment);
    Py_DECREF(self->name);
    release(object);
    Py_DECREF(type);
}

/* -- attributes -- */

/* What views refer to; NULL without an exception when it is closed. */
static PyObject *segment_of(SharedMemoryObject *self)
{
    if (self->segment != NULL || self->bytes == NULL) {
        return self->segment;
    }
    PyObject *module = PyType_GetModule(py_class_with((PyObject *)self, memory_dealloc));
    PyObject *segment_type = module == NULL ? NULL : PyObject_GetAttrString(module, "Segment");
    if (segment_type != NULL) {
        self->segment = py_segment_make((PyTypeObject *)segment_type, self->bytes, (size_t)self->size);
        Py_DECREF(segment_type);
    }
    if (self->segment != NULL) {
        self->bytes = NULL;
    }
    return self->segment;
}

static PyObject *or_none(PyObject *object)
{
    return object == NULL && PyErr_Occurred() ? NULL : Py_NewRef(object == NULL ? Py_None : object);
}

static PyObject *get_mapping(PyObject *object, void *ignored)
{
    (void)ignored;
    PyObject *mapping;
    PY_ALONE(object, mapping = or_none(segment_of((SharedMemoryObject *)object)));
    return mapping;
}

static PyObject *view_of(SharedMemoryObject *self)
{
    if (self->view == NULL && segment_of(self) != NULL) {
        self->view = PyMemoryView_FromObject(self->segment);
    }
    return or_none(self->view);
}

static PyObject *get_view(PyObject *object, void *ignored)
{
    (void)ignored;
    PyObject *view;
    PY_ALONE(object, view = view_of((SharedMemoryObject *)object));
    return view;
}

/* Programs set them to None, so that close() leaves alone what they still use. */
static int drop(PyObject **place, PyObject *value)
{
    if (value != Py_None) {
        PyErr_SetString(PyExc_AttributeError, "this attribute can only be set to None");
        return -1;
    }
    Py_CLEAR(*place);
    return 0;
}

static int drop_mapping(SharedMemoryObject *self, PyObject *value)
{
    return segment_of(self) == NULL && PyErr_Occurred() ? -1 : drop(&self->segment, value);
}

static int set_mapping(PyObject *object, PyObject *value, void *ignored)
{
    (void)ignored;
    int result;
    PY_ALONE(object, result = drop_mapping((SharedMemoryObject *)object, value));
    return result;
}

static int set_view(PyObject *object, PyObject *value, void *ignored)
{
    (void)ignored;
    int result;
    PY_ALONE(object, result = drop(&((SharedMemoryObject *)object)->view, value));
    return result;
}

static PyObject *get_full_name(PyObject *object, void *ignored)
{
    (void)ignored;
    PyObject *name;
    PY_ALONE(object, name = Py_NewRef(((SharedMemoryObject *)object)->name));
    return name;
}

static PyObject *get_name(PyObject *object, void *ignored)
{
    PyObject *name = get_full_name(object, ignored);
    PyObject *found = NULL;
    if (name == Py_None) {
        found = PyUnicode_FromString("");
    } else if (PyUnicode_Check(name) && PyUnicode_GetLength(name) > 0 && PyUnicode_ReadChar(name, 0) == '/') {
        found = PyUnicode_Substring(name, 1, PyUnicode_GetLength(name));
    } else {
        return name;
    }
    Py_DECREF(name);
    return found;
}

static int set_full_name(PyObject *object, PyObject *value, void *ignored)
{
    (void)ignored;
    int result;
    PY_ALONE(object, result = py_named_own((SharedMemoryObject *)object, Py_NewRef(value == NULL ? Py_None : value)));
    return result;
}

static PyGetSetDef memory_attributes[] = {
    {"name", get_name, NULL, "The name, by which other processes attach.", NULL},
    {"buf", get_view, NULL, "The bytes; None after `close`.", NULL},
    {"_buf", get_view, set_view, NULL, NULL},
    {"_mmap", get_mapping, set_mapping, NULL, NULL},
    {"_name", get_full_name, set_full_name, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMemberDef memory_members[] = {
    {"size", T_PYSSIZET, offsetof(SharedMemoryObject, size), READONLY, "The size in bytes."},
    {"_size", T_PYSSIZET, offsetof(SharedMemoryObject, size), READONLY, NULL},
    {"_fd", T_INT, offsetof(SharedMemoryObject, fd), READONLY, NULL},
    {"_track", T_BOOL, offsetof(SharedMemoryObject, track), 0, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyMethodDef memory_methods[] = {
    {"close", memory_close, METH_NOARGS,
     "close($self, /)\n--\n\n"
     "Unmap it here; other processes are not concerned. Raises BufferError while views of it are in use."},
    {"unlink", memory_unlink, METH_NOARGS,
     "unlink($self, /)\n--\n\n"
     "Remove the name; the memory is freed when the last process has closed it. To be called once."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot memory_slots[] = {
    {Py_tp_doc, "SharedMemory(name=None, create=False, size=0, *, track=True)\n--\n\nA named segment."},
    {Py_tp_new, memory_new}, {Py_tp_init, memory_init}, {Py_tp_finalize, memory_finalize},
    {Py_tp_dealloc, memory_dealloc}, {Py_tp_methods, memory_methods}, {Py_tp_getset, memory_attributes},
    {Py_tp_members, memory_members}, {0, NULL},
};

PyType_Spec py_shared_memory_spec = {
    "polyproc._core.SharedMemory", sizeof(SharedMemoryObject), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE, memory_slots,
};
