/* What all shared objects have in common: a handle to a cell, and how they wait. */
#ifndef PY_CELL_H
#define PY_CELL_H

#include "bind/py_api.h"
#include <pthread.h>

#include "core/pp_chunk.h"
#include "core/pp_lock.h"
#include "core/pp_spin.h"

typedef struct {
    PyObject_HEAD
    struct pp_chunk *chunk;
    struct pp_cell *cell;
    uint32_t offset;
    uint32_t kind; /* enum pp_kind: what it was when the handle was made, whatever stands in the cell since */
    struct pp_spin spin;
    pp_word recovered;
    pp_word noted; /* a Lock: pp_chunk_note; others have nothing to note */
    PyObject *lock; /* Condition: its lock */
} CellObject;

/* The class of this module that an object is of, which its own class may extend: the one with that dealloc. NULL for none. */
static inline PyTypeObject *py_class_with(PyObject *object, destructor dealloc)
{
    PyTypeObject *type = Py_TYPE(object);
    while (type != NULL && PyType_GetSlot(type, Py_tp_dealloc) != (void *)dealloc) {
        type = (PyTypeObject *)PyType_GetSlot(type, Py_tp_base);
    }
    return type;
}

/* Which thread of this process: pthread_self, where the compiler can do it without a call. */
static inline uint64_t py_thread(void)
{
#if defined(__x86_64__) && __GNUC__ >= 11 && !defined(__clang__)
    return (uint64_t)(uintptr_t)__builtin_thread_pointer();
#else
    return (uint64_t)(uintptr_t)pthread_self();
#endif
}

/* Raise the OSError of `number` for so much shared memory: `count` items of `width` bytes. NULL. */
void *py_no_room(int number, size_t count, size_t width);

/* Make a handle to a new cell, of an object of `size` bytes in all. */
CellObject *py_cell_make(PyTypeObject *type, size_t size, enum pp_kind kind);

/* Make a handle to a cell that is there: what _adopt(id, offset) does. ValueError for what is none. */
CellObject *py_cell_adopt(PyTypeObject *type, PyObject *const *args, Py_ssize_t count, enum pp_kind kind);

void py_cell_dealloc(PyObject *self);

/* _where() -> (id of the chunk, offset): enough to adopt it in a process that has the chunk. */
PyObject *py_cell_where(PyObject *self, PyObject *ignored);

/* One step of a wait, without the GIL. */
typedef enum pp_answer (*py_step)(CellObject *self, struct pp_wait *wait, int extra);

/* Take steps until there is an answer; signal handlers, and what check_waits was told, run in between, and what they raise
 * ends the wait: PP_FAILED with an exception set. */
enum pp_answer py_wait(py_step step, CellObject *self, struct pp_wait *wait, int extra);

/* check_waits(function or None): have it called now and then while this thread waits; what it raises ends the wait. */
PyObject *py_check_waits(PyObject *module, PyObject *check);

#define PY_HANDLE_CLOSED "handle is closed: close() was called in this process"
#define PY_QUEUE_IS_CLOSED                                                                                                 \
    "Queue %R is closed: close() says that this process puts and gets nothing more; put before it, or make another queue"
#define PY_RELEASED_TOO_OFTEN "semaphore or lock released too many times: each release() belongs to one acquire() before it"

/* Put in the place of a TypeError that is set the one that a function of polyproc/_base/misuse.py makes of it. */
void py_misuse(const char *about, PyObject *given);

/* A timeout in seconds, None for no limit, to a deadline; 0 with an exception set when it is no number. */
int py_deadline(PyObject *timeout, int64_t *deadline);

/* The arguments of acquire(block=True, timeout=None); 0 with an exception set. `deadline` is -1 not to wait at all. */
int py_acquire_arguments(PyObject *const *args, Py_ssize_t count, PyObject *names, int64_t *deadline);

/* The only argument of wait(timeout=None). */
int py_wait_argument(PyObject *const *args, Py_ssize_t count, PyObject *names, int64_t *deadline);

/* Warn that an owner died. -1 with an exception set where warnings are errors. */
int py_warn_owner_died(CellObject *self);

/* -1 with an OSError from errno, or with RuntimeError if every slot of the registry is taken. */
int py_failed(void);

/* Attributes `recovered` and, for those with one owner, `owner`: its pid or None. */
PyObject *py_cell_recovered(PyObject *self, void *ignored);
PyObject *py_cell_owner(PyObject *self, void *ignored);

#endif
