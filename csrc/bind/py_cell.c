#include "bind/py_cell.h"

#include <errno.h>
#include <math.h>
#include <string.h>

#include "bind/py_greenlets.h"
#include "core/pp_futex.h"

static CellObject *new_handle(PyTypeObject *type, struct pp_chunk *chunk, uint32_t offset, enum pp_kind kind)
{
    allocfunc allocate = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    CellObject *self = (CellObject *)allocate(type, 0);
    if (self == NULL) {
        pp_chunk_drop(chunk);
        return NULL;
    }
    self->chunk = chunk;
    self->offset = offset;
    self->cell = (struct pp_cell *)((char *)chunk->page + offset);
    self->kind = kind;
    pp_store_own(&self->noted, kind != PP_LOCK);
    pp_spin_start(&self->spin);
    return self;
}

void *py_no_room(int number, size_t count, size_t width)
{
    PyObject *text = width == 1 ? PyUnicode_FromFormat("%s: %zu bytes of shared memory were asked for", strerror(number), count)
                                : PyUnicode_FromFormat("%s: shared memory for %zu items of %zu bytes was asked for",
                                                       strerror(number), count, width);
    PyObject *arguments = text == NULL ? NULL : Py_BuildValue("(iN)", number, text);
    if (arguments != NULL) {
        PyErr_SetObject(PyExc_OSError, arguments);
        Py_DECREF(arguments);
    }
    return NULL;
}

CellObject *py_cell_make(PyTypeObject *type, size_t size, enum pp_kind kind)
{
    struct pp_chunk *chunk = NULL;
    uint32_t offset = pp_chunk_alloc(size, kind, &chunk);
    if (offset == 0) {
        return py_no_room(errno, size, 1);
    }
    return new_handle(type, chunk, offset, kind);
}

CellObject *py_cell_adopt(PyTypeObject *type, PyObject *const *args, Py_ssize_t count, enum pp_kind kind)
{
    char *id = NULL;
    Py_ssize_t length = 0;
    if (count != 2) {
        PyErr_SetString(PyExc_TypeError, "_adopt() takes the id of a chunk and an offset");
        return NULL;
    }
    if (PyBytes_AsStringAndSize(args[0], &id, &length) < 0) {
        return NULL;
    }
    unsigned long offset = PyLong_AsUnsignedLong(args[1]);
    if (PyErr_Occurred()) {
        return NULL;
    }
    struct pp_chunk *chunk = length == PP_ID_SIZE ? pp_chunk_find((unsigned char *)id) : NULL;
    if (chunk == NULL) {
        PyErr_SetString(PyExc_ValueError, "this process does not have the memory of a shared object");
        return NULL;
    }
    if (offset > UINT32_MAX || pp_chunk_cell(chunk, (uint32_t)offset, kind, sizeof(struct pp_cell)) == NULL) {
        pp_chunk_drop(chunk);
        PyErr_SetString(PyExc_ValueError, "there is no shared object of this kind at this place");
        return NULL;
    }
    return new_handle(type, chunk, (uint32_t)offset, kind);
}

void py_cell_dealloc(PyObject *object)
{
    CellObject *self = (CellObject *)object;
    PyTypeObject *type = Py_TYPE(object);
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);
    if (self->chunk != NULL) {
        pp_chunk_drop(self->chunk);
    }
    Py_XDECREF(self->lock);
    release(object);
    Py_DECREF(type);
}

PyObject *py_cell_where(PyObject *object, PyObject *ignored)
{
    (void)ignored;
    CellObject *self = (CellObject *)object;
    return Py_BuildValue("y#k", (char *)self->chunk->id, (Py_ssize_t)PP_ID_SIZE, (unsigned long)self->offset);
}

/* Of this process, and true of its forked children: whether a thread has ever had something to be called while it waits. */
static pp_word has_checks;
static const char CHECK[] = "polyproc.check";

PyObject *py_check_waits(PyObject *module, PyObject *check)
{
    (void)module;
    PyObject *own = PyThreadState_GetDict();
    if (own == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "this thread keeps nothing");
        return NULL;
    }
    if (check != Py_None) {
        pp_store_own(&has_checks, 1);
    }
    return PyDict_SetItemString(own, CHECK, check) < 0 ? NULL : Py_NewRef(Py_None);
}

/* What may end a wait: signal handlers, and what this thread has asked for. -1 with an exception. */
static int check(void)
{
    if (PyErr_CheckSignals() < 0) {
        return -1;
    }
    PyObject *own = pp_load(&has_checks) ? PyThreadState_GetDict() : NULL;
    PyObject *found = own == NULL ? NULL : PyDict_GetItemString(own, CHECK);
    if (found == NULL || found == Py_None) {
        return 0;
    }
    Py_INCREF(found);
    PyObject *result = PyObject_CallNoArgs(found);
    Py_DECREF(found);
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

enum pp_answer py_wait(py_step step, CellObject *self, struct pp_wait *wait, int extra)
{
    wait->polls = py_greenlets();
    wait->spin = wait->polls ? NULL : wait->spin;
    for (int turns = 0;; turns++) {
        enum pp_answer answer;
        Py_BEGIN_ALLOW_THREADS
        answer = step(self, wait, extra);
        Py_END_ALLOW_THREADS
        if (answer == PP_FAILED) {
            py_failed();
            return PP_FAILED;
        }
        if (answer != PP_AGAIN) {
            return answer;
        }
        if (check() < 0) {
            return PP_FAILED;
        }
        if (wait->polls && (wait->polls = py_let_run(turns, wait->deadline)) < 0) {
            return PP_FAILED;
        }
    }
}

void py_misuse(const char *about, PyObject *given)
{
    if (!PyErr_ExceptionMatches(PyExc_TypeError)) {
        return;
    }
    PyObject *type, *error, *trace;
    PyErr_Fetch(&type, &error, &trace);
    PyObject *text = error == NULL ? NULL : PyObject_Str(error);
    PyObject *module = text == NULL ? NULL : PyImport_ImportModule("polyproc._base.misuse");
    PyObject *better = module == NULL ? NULL : PyObject_CallMethod(module, about, "OO", given, text);
    Py_XDECREF(text);
    Py_XDECREF(module);
    if (better == NULL) {
        PyErr_Clear();
        PyErr_Restore(type, error, trace);
        return;
    }
    PyErr_SetObject((PyObject *)Py_TYPE(better), better);
    Py_DECREF(better);
    Py_XDECREF(type);
    Py_XDECREF(error);
    Py_XDECREF(trace);
}

int py_deadline(PyObject *timeout, int64_t *deadline)
{
    if (timeout == Py_None) {
        *deadline = PP_FOREVER;
        return 1;
    }
    double seconds = PyFloat_AsDouble(timeout);
    if (seconds == -1.0 && PyErr_Occurred()) {
        py_misuse("not_seconds", timeout);
        return 0;
    }
    if (isnan(seconds)) {
        PyErr_SetString(PyExc_ValueError, "Invalid value NaN (not a number)");
        return 0;
    }
    if (seconds <= 0) {
        *deadline = 0;
    } else if (seconds > 1e9) {
        *deadline = PP_FOREVER; /* thirty years */
    } else {
        *deadline = pp_now() + (int64_t)(seconds * 1e9);
    }
    return 1;
}

static int is_named(PyObject *names, Py_ssize_t index, const char *name)
{
    PyObject *given = PyTuple_GetItem(names, index);
    return given != NULL && PyUnicode_CompareWithASCIIString(given, name) == 0;
}

int py_acquire_arguments(PyObject *const *args, Py_ssize_t count, PyObject *names, int64_t *deadline)
{
    PyObject *block = count > 0 ? args[0] : NULL;
    PyObject *timeout = count > 1 ? args[1] : Py_None;
    if (count > 2) {
        PyErr_SetString(PyExc_TypeError, "acquire() takes at most 2 arguments: block and timeout");
        return 0;
    }
    Py_ssize_t named = names == NULL ? 0 : PyTuple_Size(names);
    for (Py_ssize_t i = 0; i < named; i++) {
        if (is_named(names, i, "block") && count == 0) {
            block = args[count + i];
        } else if (is_named(names, i, "timeout") && count < 2) {
            timeout = args[count + i];
        } else {
            PyErr_Format(PyExc_TypeError, "acquire() got an unexpected keyword argument %R", PyTuple_GetItem(names, i));
            return 0;
        }
    }
    int blocks = block == NULL || block == Py_True ? 1 : PyObject_IsTrue(block);
    if (blocks < 0) {
        return 0;
    }
    if (!blocks) {
        *deadline = -1;
        return 1;
    }
    return py_deadline(timeout, deadline);
}

int py_wait_argument(PyObject *const *args, Py_ssize_t count, PyObject *names, int64_t *deadline)
{
    Py_ssize_t named = names == NULL ? 0 : PyTuple_Size(names);
    if (count + named > 1) {
        PyErr_SetString(PyExc_TypeError, "wait() takes at most 1 argument: timeout");
        return 0;
    }
    if (named == 1 && !is_named(names, 0, "timeout")) {
        PyErr_Format(PyExc_TypeError, "wait() got an unexpected keyword argument %R", PyTuple_GetItem(names, 0));
        return 0;
    }
    return py_deadline(count + named == 1 ? args[0] : Py_None, deadline);
}

int py_warn_owner_died(CellObject *self)
{
    pp_store_own(&self->recovered, 1);
    PyObject *errors = PyImport_ImportModule("polyproc._base.errors");
    PyObject *category = errors == NULL ? NULL : PyObject_GetAttrString(errors, "OwnerDiedWarning");
    Py_XDECREF(errors);
    if (category == NULL) {
        return -1;
    }
    int result = PyErr_WarnFormat(category, 1, "a process that held a %s died: what it guards may be half done",
                                  self->kind == PP_SEMAPHORE ? "semaphore" : "lock");
    Py_DECREF(category);
    return result;
}

int py_failed(void)
{
    if (errno == EAGAIN) {
        PyErr_SetString(PyExc_RuntimeError, "more than 4095 processes share locks: there is no place for another");
    } else {
        PyErr_SetFromErrno(PyExc_OSError);
    }
    return -1;
}

PyObject *py_cell_recovered(PyObject *self, void *ignored)
{
    (void)ignored;
    return PyBool_FromLong((long)pp_load_own(&((CellObject *)self)->recovered));
}

PyObject *py_cell_owner(PyObject *object, void *ignored)
{
    (void)ignored;
    CellObject *self = (CellObject *)object;
    int32_t pid = pp_pid_of(self->chunk->registry, pp_load(&self->cell->word));
    if (pid == 0) {
        Py_RETURN_NONE;
    }
    return PyLong_FromLong(pid);
}
