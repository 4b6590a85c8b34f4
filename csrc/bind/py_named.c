/* Making and opening a named segment, for SharedMemory: the steps, and why they come in this order, are those of
 * core/pp_named.h; here are the exceptions, the signals and the tracker. */
#include "bind/py_shared_memory.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/pp_futex.h"

#define MAX_TRIES 100

static int failed(SharedMemoryObject *self)
{
    PyErr_SetFromErrnoWithFilenameObject(PyExc_OSError, self->name);
    return -1;
}

static PyObject *tracker_of(SharedMemoryObject *self) { return PyObject_GetAttrString((PyObject *)self, "_tracker"); }

/* By way of the tracker's methods, which programs replace (docs/adr/0010): by such as take a name and a kind, too. */
static int tell_tracker(SharedMemoryObject *self, const char *method, const struct stat *info)
{
    const char *rtype = "shared_memory";
    PyObject *tracker = tracker_of(self), *done = NULL;
    if (tracker != NULL) {
        done = info == NULL || py_lines_are_replaced(tracker)
                   ? PyObject_CallMethod(tracker, method, "Os", self->name, rtype)
                   : PyObject_CallMethod(tracker, method, "Os(KK)", self->name, rtype, (unsigned long long)info->st_dev,
                                         (unsigned long long)info->st_ino);
        Py_DECREF(tracker);
    }
    Py_XDECREF(done);
    return done == NULL ? -1 : 0;
}

static int path_of(SharedMemoryObject *self, struct pp_named *named)
{
    char *text;
    Py_ssize_t length;
    PyObject *bytes = PyUnicode_EncodeFSDefault(self->name); /* any but a zero */
    if (bytes == NULL || PyBytes_AsStringAndSize(bytes, &text, &length) < 0) {
        Py_XDECREF(bytes);
        return -1;
    }
    int result = -1;
    if (strlen(text) != (size_t)length) {
        PyErr_SetString(PyExc_ValueError, "embedded null character");
    } else {
        result = pp_named_path(named, text) < 0 ? failed(self) : 0;
    }
    Py_DECREF(bytes);
    return result;
}

static int no_room(SharedMemoryObject *self)
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

/* Older kernels (not 6.18) undo what was reserved when a signal comes: in a program with a fast timer only small steps end. */
static int reserve(SharedMemoryObject *self, struct pp_named *named)
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

static int map(SharedMemoryObject *self)
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

void py_named_let_go(SharedMemoryObject *self)
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

/* What has failed leaves nothing; `told` is the file that the tracker was told of. */
static int undo(SharedMemoryObject *self, struct pp_named *named, const struct stat *told)
{
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    if (named->has_name && self->fd >= 0) {
        unlink(named->path);
    }
    if (told != NULL && tell_tracker(self, "unregister", told) < 0) {
        PyErr_Clear(); /* it will find nothing */
    }
    py_named_let_go(self);
    PyErr_Restore(type, value, traceback);
    return -1;
}

static int make(SharedMemoryObject *self, struct pp_named *named, int with_name)
{
    if (pp_named_make(named, with_name) < 0) {
        return failed(self);
    }
    self->fd = named->fd;
    return reserve(self, named) < 0 || map(self) < 0 ? -1 : 0;
}

/* The tracker knows of it by its name, or is not to. */
static int create_known(SharedMemoryObject *self)
{
    struct pp_named named;
    if (path_of(self, &named) < 0) {
        return -1;
    }
    return make(self, &named, 1) < 0 ? undo(self, &named, NULL) : 0;
}

int py_named_create(SharedMemoryObject *self)
{
    struct pp_named named;
    struct stat info;
    if (path_of(self, &named) < 0) {
        return -1;
    }
    if (make(self, &named, 0) < 0 || (self->track && fstat(self->fd, &info) < 0 && failed(self) < 0) ||
        (self->track && tell_tracker(self, "register", &info) < 0)) {
        return undo(self, &named, NULL);
    }
    if (pp_named_link(&named) < 0) {
        failed(self);
        return undo(self, &named, self->track ? &info : NULL);
    }
    return 0;
}

int py_named_attach(SharedMemoryObject *self)
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

int py_named_own(SharedMemoryObject *self, PyObject *name)
{
    PyObject *before = self->name;
    if (name != NULL) {
        self->name = name;
        Py_DECREF(before);
    }
    return name == NULL ? -1 : 0;
}

/* A name for a segment that was given none, and whether the tracker has to be told of it. */
static PyObject *new_name(SharedMemoryObject *self, int *tells)
{
    char mark[PY_MARK + 1] = "";
    int64_t now = pp_now();
    PyObject *make = PyObject_GetAttrString((PyObject *)Py_TYPE((PyObject *)self), "_make_filename"), *name = NULL;
    if (make == NULL) {
        return NULL;
    }
    *tells = self->track;
    if (!PyCFunction_CheckExact(make) || PyCFunction_GetFunction(make) != py_segment_name) {
        name = PyObject_CallNoArgs(make);
    } else {
        PyObject *tracker = self->track ? tracker_of(self) : NULL;
        int marked = tracker == NULL ? 0 : py_lines_mark(tracker, now, mark);
        Py_XDECREF(tracker);
        *tells = self->track && !marked;
        name = PyErr_Occurred() ? NULL : py_marked_name(marked ? mark : "", now);
    }
    Py_DECREF(make);
    return name;
}

int py_named_create_somewhere(SharedMemoryObject *self)
{
    for (int i = 0; i < MAX_TRIES; i++) {
        int tells;
        if (py_named_own(self, new_name(self, &tells)) < 0) {
            return -1;
        }
        if ((tells ? py_named_create(self) : create_known(self)) == 0) {
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

int py_named_unlink(SharedMemoryObject *self)
{
    struct pp_named named;
    if (self->name == Py_None) {
        return 0;
    }
    if (path_of(self, &named) < 0) {
        return -1;
    }
    struct stat info;
    int known = lstat(named.path, &info) == 0;
    if (unlink(named.path) < 0) {
        return failed(self);
    }
    PyObject *tracker = tracker_of(self);
    int tells = tracker != NULL && self->track && !py_lines_cover(tracker, self->name);
    Py_XDECREF(tracker);
    return tracker == NULL || (tells && tell_tracker(self, "unregister", known ? &info : NULL) < 0) ? -1 : 0;
}
