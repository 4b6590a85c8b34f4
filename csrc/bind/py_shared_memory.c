/* SharedMemory: what is done for each segment, in C because all of it is four system calls of a microsecond each.
 * The class that programs see, polyproc._memory.segment.SharedMemory, extends it by
 *
 *     _new_name() -> a name for a segment that was given none
 *     _tracker, its register(name, "shared_memory", (device, inode)) and unregister(name, "shared_memory")
 *
 * The steps of making one, and why they come in this order, are those of core/pp_named.h.
 *
 * The object has the mapping until somebody asks for `buf`. Then a Segment gets it: views refer to that, and not to the
 * SharedMemory, which so is closed with its last reference.
 */
#include "bind/py_shared_memory.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <structmember.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/pp_named.h"

#define MOST_TRIES 100

typedef struct {
    PyObject_HEAD
    PyObject *name;    /* with its slash, or None */
    char *bytes;       /* until there is a segment */
    PyObject *segment; /* has the bytes, then */
    PyObject *view;
    Py_ssize_t size;
    int fd;
    char track;
} PySharedMemory;

/* -- making and opening: all return 0, or -1 with an exception set -- */

static int failed(PySharedMemory *self)
{
    PyErr_SetFromErrnoWithFilenameObject(PyExc_OSError, self->name);
    return -1;
}

/* By way of the tracker's methods, which programs replace (docs/adr/0010). */
static int tell_tracker(PySharedMemory *self, const char *method, const struct stat *info)
{
    const char *rtype = "shared_memory";
    PyObject *tracker = PyObject_GetAttrString((PyObject *)self, "_tracker"), *done = NULL;
    if (tracker != NULL) {
        done = info == NULL ? PyObject_CallMethod(tracker, method, "Os", self->name, rtype)
                            : PyObject_CallMethod(tracker, method, "Os(KK)", self->name, rtype,
                                                  (unsigned long long)info->st_dev, (unsigned long long)info->st_ino);
        Py_DECREF(tracker);
    }
    Py_XDECREF(done);
    return done == NULL ? -1 : 0;
}

static int path_of(PySharedMemory *self, struct pp_named *named)
{
    Py_ssize_t length;
    const char *text = PyUnicode_AsUTF8AndSize(self->name, &length);
    if (text == NULL) {
        return -1;
    }
    if (strlen(text) != (size_t)length) {
        PyErr_SetString(PyExc_ValueError, "embedded null character");
        return -1;
    }
    return pp_named_path(named, text) < 0 ? failed(self) : 0;
}

static int no_room(PySharedMemory *self)
{
    PyObject *type, *value, *traceback;
    failed(self);
    PyErr_Fetch(&type, &value, &traceback);
    PyErr_NormalizeException(&type, &value, &traceback);
    PyObject *note =
        PyUnicode_FromFormat("there is no room for %zd bytes in the file system of shared memory", self->size);
    PyObject *done = note == NULL ? NULL : PyObject_CallMethod(value, "add_note", "O", note);
    Py_XDECREF(note);
    Py_XDECREF(done);
    PyErr_Clear();
    PyErr_Restore(type, value, traceback);
    return -1;
}

/* A kernel before 6.16 undoes what it has reserved when a signal comes: in a program with a fast timer only small steps end. */
static int reserve(PySharedMemory *self, struct pp_named *named)
{
    uint64_t size = (uint64_t)self->size, start = 0, step = size;
    if (size <= PY_LONG_TIME && pp_named_reserve(named, &start, size) == 0) {
        return 0;
    }
    while (start < size) {
        int done;
        Py_BEGIN_ALLOW_THREADS
        done = pp_named_reserve(named, &start, step < size - start ? step : size - start);
        Py_END_ALLOW_THREADS
        if (done < 0 && errno != EINTR) {
            return no_room(self);
        }
        if (done < 0 && PyErr_CheckSignals() < 0) {
            return -1;
        }
        step = done < 0 && step > PY_LONG_TIME ? step / 2 : step;
    }
    return 0;
}

static int map(PySharedMemory *self)
{
    if (self->size == 0) {
        PyErr_SetString(PyExc_ValueError, "cannot mmap an empty file");
        return -1;
    }
    void *bytes = mmap(NULL, (size_t)self->size, PROT_READ | PROT_WRITE, MAP_SHARED, self->fd, 0);
    if (bytes == MAP_FAILED) {
        PyErr_SetFromErrno(PyExc_OSError);
        return -1;
    }
    self->bytes = bytes;
    return 0;
}

static void let_go(PySharedMemory *self)
{
    char *bytes = self->bytes;
    int fd = self->fd;
    self->bytes = NULL;
    self->fd = -1;
    if (fd >= 0) {
        close(fd);
    }
    py_unmap(bytes, (size_t)self->size);
}

/* What has failed leaves nothing. */
static int undo(PySharedMemory *self, struct pp_named *named, int told)
{
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    if (named->has_name && self->fd >= 0) {
        unlink(named->path);
    }
    if (told && tell_tracker(self, "unregister", NULL) < 0) {
        PyErr_Clear(); /* it will find nothing */
    }
    let_go(self);
    PyErr_Restore(type, value, traceback);
    return -1;
}

static int make(PySharedMemory *self, struct pp_named *named, int with_name)
{
    if (pp_named_make(named, with_name) < 0) {
        return failed(self);
    }
    self->fd = named->fd;
    return reserve(self, named) < 0 || map(self) < 0 ? -1 : 0;
}

static int create_random(PySharedMemory *self)
{
    struct pp_named named;
    if (path_of(self, &named) < 0 || (self->track && tell_tracker(self, "register", NULL) < 0)) {
        return -1;
    }
    return make(self, &named, 1) < 0 ? undo(self, &named, self->track) : 0;
}

static int create(PySharedMemory *self)
{
    struct pp_named named;
    struct stat info;
    if (path_of(self, &named) < 0) {
        return -1;
    }
    if (make(self, &named, 0) < 0 || (self->track && fstat(self->fd, &info) < 0 && failed(self) < 0) ||
        (self->track && tell_tracker(self, "register", &info) < 0)) {
        return undo(self, &named, 0);
    }
    if (pp_named_link(&named) < 0) {
        failed(self);
        return undo(self, &named, self->track);
    }
    return 0;
}

static int attach(PySharedMemory *self)
{
    struct pp_named named;
    struct stat info;
    if (path_of(self, &named) < 0) {
        return -1;
    }
    if (pp_named_open(&named) < 0) {
        return failed(self);
    }
    self->fd = named.fd;
    if (fstat(self->fd, &info) < 0) {
        return failed(self);
    }
    self->size = (Py_ssize_t)info.st_size;
    return map(self);
}

static int take_name(PySharedMemory *self, PyObject *name)
{
    PyObject *before = self->name;
    if (name != NULL) {
        self->name = name;
        Py_DECREF(before);
    }
    return name == NULL ? -1 : 0;
}

static int create_somewhere(PySharedMemory *self)
{
    for (int i = 0; i < MOST_TRIES; i++) {
        if (take_name(self, PyObject_CallMethod((PyObject *)self, "_new_name", NULL)) < 0) {
            return -1;
        }
        if (create_random(self) == 0) {
            return 0;
        }
        if (!PyErr_ExceptionMatches(PyExc_FileExistsError)) {
            return -1;
        }
        PyErr_Clear();
    }
    PyErr_SetString(PyExc_FileExistsError, "no free name was found for a shared memory segment");
    return -1;
}

/* -- life -- */

static PyObject *memory_new(PyTypeObject *type, PyObject *args, PyObject *names)
{
    (void)args;
    (void)names;
    PySharedMemory *self = (PySharedMemory *)((allocfunc)PyType_GetSlot(type, Py_tp_alloc))(type, 0);
    if (self != NULL) {
        self->name = Py_NewRef(Py_None);
        self->fd = -1;
    }
    return (PyObject *)self;
}

static PyObject *memory_close(PyObject *object, PyObject *ignored)
{
    (void)ignored;
    PySharedMemory *self = (PySharedMemory *)object;
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
    let_go(self);
    Py_RETURN_NONE;
}

/* SharedMemory(name=None, create=False, size=0, *, track=True) */
static int memory_init(PyObject *object, PyObject *args, PyObject *names)
{
    static char *keywords[] = {"name", "create", "size", "track", NULL};
    PySharedMemory *self = (PySharedMemory *)object;
    PyObject *name = Py_None;
    Py_ssize_t size = 0;
    int making = 0, track = 1;
    if (!PyArg_ParseTupleAndKeywords(args, names, "|Opn$p:SharedMemory", keywords, &name, &making, &size, &track)) {
        return -1;
    }
    const char *wrong = size < 0 ? "'size' must be a positive integer"
                        : making && size == 0 ? "'size' must be a positive number different from zero"
                        : !making && name == Py_None ? "'name' can only be None if create=True"
                                                     : NULL;
    if (wrong != NULL || (name != Py_None && !PyUnicode_Check(name))) {
        PyErr_SetString(wrong != NULL ? PyExc_ValueError : PyExc_TypeError,
                        wrong != NULL ? wrong : "the name of a segment must be a str");
        return -1;
    }
    PyObject *closed = memory_close(object, NULL); /* nothing, unless this is called a second time */
    if (closed == NULL) {
        return -1;
    }
    Py_DECREF(closed);
    self->track = (char)track;
    self->size = size;
    if (name == Py_None) {
        return create_somewhere(self);
    }
    if (take_name(self, PyUnicode_FromFormat("/%U", name)) < 0) {
        return -1;
    }
    return making ? create(self) : attach(self);
}

static PyObject *memory_unlink(PyObject *object, PyObject *ignored)
{
    (void)ignored;
    PySharedMemory *self = (PySharedMemory *)object;
    struct pp_named named;
    if (self->name == Py_None) {
        Py_RETURN_NONE;
    }
    if (path_of(self, &named) < 0) {
        return NULL;
    }
    if (unlink(named.path) < 0) {
        failed(self);
        return NULL;
    }
    if (self->track && tell_tracker(self, "unregister", NULL) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static void memory_finalize(PyObject *object)
{
    PySharedMemory *self = (PySharedMemory *)object;
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
    PySharedMemory *self = (PySharedMemory *)object;
    PyTypeObject *type = Py_TYPE(object);
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);
    let_go(self);
    Py_XDECREF(self->view);
    Py_XDECREF(self->segment);
    Py_DECREF(self->name);
    release(object);
    Py_DECREF(type);
}

/* -- attributes -- */

/* What views refer to; NULL without an exception when it is closed. */
static PyObject *segment_of(PySharedMemory *self)
{
    if (self->segment != NULL || self->bytes == NULL) {
        return self->segment;
    }
    PyTypeObject *type = NULL, *base = Py_TYPE((PyObject *)self);
    while (base != NULL && PyType_GetSlot(base, Py_tp_new) == (void *)memory_new) {
        type = base; /* the last is the one of this module */
        base = (PyTypeObject *)PyType_GetSlot(base, Py_tp_base);
    }
    PyObject *module = type == NULL ? NULL : PyType_GetModule(type);
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

static PyObject *get_mapping(PyObject *self, void *ignored)
{
    (void)ignored;
    return or_none(segment_of((PySharedMemory *)self));
}

static PyObject *get_view(PyObject *object, void *ignored)
{
    (void)ignored;
    PySharedMemory *self = (PySharedMemory *)object;
    if (self->view == NULL && segment_of(self) != NULL) {
        self->view = PyMemoryView_FromObject(self->segment);
    }
    return or_none(self->view);
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

static int set_mapping(PyObject *object, PyObject *value, void *ignored)
{
    (void)ignored;
    PySharedMemory *self = (PySharedMemory *)object;
    return segment_of(self) == NULL && PyErr_Occurred() ? -1 : drop(&self->segment, value);
}

static int set_view(PyObject *object, PyObject *value, void *ignored)
{
    (void)ignored;
    return drop(&((PySharedMemory *)object)->view, value);
}

static PyObject *get_name(PyObject *object, void *ignored)
{
    (void)ignored;
    PyObject *name = ((PySharedMemory *)object)->name;
    if (name == Py_None) {
        return PyUnicode_FromString("");
    }
    int slash = PyUnicode_Check(name) && PyUnicode_GetLength(name) > 0 && PyUnicode_ReadChar(name, 0) == '/';
    return slash ? PyUnicode_Substring(name, 1, PyUnicode_GetLength(name)) : Py_NewRef(name);
}

static PyObject *get_full_name(PyObject *object, void *ignored)
{
    (void)ignored;
    return Py_NewRef(((PySharedMemory *)object)->name);
}

static int set_full_name(PyObject *object, PyObject *value, void *ignored)
{
    (void)ignored;
    return take_name((PySharedMemory *)object, Py_NewRef(value == NULL ? Py_None : value));
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
    {"size", T_PYSSIZET, offsetof(PySharedMemory, size), READONLY, "The size in bytes."},
    {"_size", T_PYSSIZET, offsetof(PySharedMemory, size), READONLY, NULL},
    {"_fd", T_INT, offsetof(PySharedMemory, fd), READONLY, NULL},
    {"_track", T_BOOL, offsetof(PySharedMemory, track), 0, NULL},
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
    "polyproc._core.SharedMemory", sizeof(PySharedMemory), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE, memory_slots,
};
