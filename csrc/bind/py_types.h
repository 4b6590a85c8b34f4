/* The types of the module, and the calls between them. */
#ifndef PY_TYPES_H
#define PY_TYPES_H

#include "bind/py_cell.h"

extern PyType_Spec py_lock_spec, py_rlock_spec, py_semaphore_spec, py_event_spec, py_condition_spec, py_barrier_spec;
extern PyType_Spec py_scalar_spec, py_array_spec, py_memory_spec, py_latch_spec;

/* 1 taken, 0 not, -1 an exception; a deadline of -1 does not wait. */
int py_lock_acquire(CellObject *self, int64_t deadline);
int py_rlock_acquire(CellObject *self, int64_t deadline);

/* What the release() of a Lock or RLock does. */
PyObject *py_lock_release(PyObject *lock);

/* Whether an object is a Lock or an RLock of this module. */
int py_is_lock(PyObject *object);

/* attach(fd, registry_fd) -> id; hold(id) -> (fd, registry_fd), both count a handle; detach(id) drops one. leave(). */
PyObject *py_attach(PyObject *module, PyObject *const *args, Py_ssize_t count);
PyObject *py_hold(PyObject *module, PyObject *id);
PyObject *py_detach(PyObject *module, PyObject *id);
PyObject *py_leave(PyObject *module, PyObject *ignored);

#endif
