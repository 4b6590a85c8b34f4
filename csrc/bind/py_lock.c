/* Lock and RLock. The algorithm is in core/pp_lock. */
#include "bind/py_types.h"

#include <errno.h>

#include "core/pp_futex.h"

int py_is_lock(PyObject *object)
{
    /* Every type of this module that a Lock or RLock can be has our dealloc and a handle of the kind. */
    if (py_class_with(object, py_cell_dealloc) == NULL) {
        return 0;
    }
    uint32_t kind = ((CellObject *)object)->kind;
    return kind == PP_LOCK || kind == PP_RLOCK;
}

static PyObject *make(PyTypeObject *type, enum pp_kind kind) { return (PyObject *)py_cell_make(type, sizeof(struct pp_cell), kind); }

static PyObject *lock_new(PyTypeObject *type, PyObject *args, PyObject *names)
{
    (void)args;
    (void)names;
    return make(type, PP_LOCK);
}

static PyObject *rlock_new(PyTypeObject *type, PyObject *args, PyObject *names)
{
    (void)args;
    (void)names;
    return make(type, PP_RLOCK);
}

static enum pp_answer step(CellObject *self, struct pp_wait *wait, int extra)
{
    (void)extra;
    return pp_lock_wait(self->chunk, self->cell, wait);
}

/* What is true of a hold from its first moment on. */
static inline void own(CellObject *self)
{
    pp_store_own(&self->recovered, 0);
    pp_lock_own(self->chunk, self->cell, py_thread(), 1);
    if (!pp_load_own(&self->noted)) {
        pp_store_own(&self->noted, (uint32_t)pp_chunk_note(self->chunk, self->offset));
    }
}

static __attribute__((noinline)) int acquire_held(CellObject *self, int64_t deadline)
{
    enum pp_answer answer = pp_lock_try(self->chunk, self->cell);
    if (answer == PP_FAILED) {
        return py_failed();
    }
    if (answer == PP_AGAIN && deadline > 0) {
        struct pp_wait wait;
        pp_wait_start(&wait, deadline, &self->spin);
        answer = py_wait(step, self, &wait, 0);
    }
    if (answer == PP_DONE || answer == PP_RECOVERED) {
        own(self);
        if (answer == PP_RECOVERED && py_warn_owner_died(self) < 0) {
            pp_lock_give(self->chunk, self->cell);
            return -1;
        }
        return 1;
    }
    pp_store_own(&self->recovered, 0);
    return answer == PP_FAILED ? -1 : 0;
}

/* Take the lock; the deadline is -1 not to wait. 1 taken, 0 not, -1 an exception. */
static inline int acquire(CellObject *self, int64_t deadline)
{
    uint32_t me = pp_load_own(&self->chunk->tenant->me);
    if (me == 0 || !pp_lock_acquire(self->cell, me)) {
        return acquire_held(self, deadline);
    }
    own(self);
    return 1;
}

int py_lock_acquire(CellObject *self, int64_t deadline) { return acquire(self, deadline); }

static inline PyObject *truth(int taken)
{
    return taken < 0 ? NULL : Py_NewRef(taken ? Py_True : Py_False); /* PyBool_FromLong is a call */
}

static PyObject *lock_acquire(PyObject *object, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    if (count == 0 && names == NULL) {
        return truth(acquire((CellObject *)object, PP_FOREVER));
    }
    int64_t deadline = PP_FOREVER;
    return py_acquire_arguments(args, count, names, &deadline) ? truth(py_lock_acquire((CellObject *)object, deadline)) : NULL;
}

static int give_lock(CellObject *self)
{
    if (pp_lock_give(self->chunk, self->cell) < 0) {
        PyErr_SetString(PyExc_ValueError, PY_RELEASED_TOO_OFTEN);
        return -1;
    }
    return 0;
}

static PyObject *lock_release(PyObject *object, PyObject *ignored)
{
    (void)ignored;
    if (give_lock((CellObject *)object) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *lock_enter(PyObject *object, PyObject *ignored)
{
    (void)ignored;
    return truth(acquire((CellObject *)object, PP_FOREVER));
}

static PyObject *lock_exit(PyObject *object, PyObject *const *args, Py_ssize_t count)
{
    (void)args;
    (void)count;
    return lock_release(object, NULL);
}

static inline int acquire_again(CellObject *self, int64_t deadline)
{
    if (pp_lock_is_mine(self->chunk, self->cell, py_thread())) {
        uint32_t depth = pp_load_own(&self->cell->lock.depth);
        if (depth == UINT32_MAX) {
            PyErr_SetString(PyExc_OverflowError, "a lock was taken too often by its holder");
            return -1;
        }
        pp_publish(&self->cell->lock.depth, depth + 1); /* killed here: the next owner writes its own */
        return 1;
    }
    return acquire(self, deadline);
}

int py_rlock_acquire(CellObject *self, int64_t deadline) { return acquire_again(self, deadline); }

static PyObject *rlock_acquire(PyObject *object, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    if (count == 0 && names == NULL) {
        return truth(acquire_again((CellObject *)object, PP_FOREVER));
    }
    int64_t deadline = PP_FOREVER;
    return py_acquire_arguments(args, count, names, &deadline) ? truth(py_rlock_acquire((CellObject *)object, deadline)) : NULL;
}

static PyObject *rlock_release(PyObject *object, PyObject *ignored)
{
    (void)ignored;
    CellObject *self = (CellObject *)object;
    if (pp_rlock_release(self->chunk, self->cell, py_thread()) < 0) {
        PyErr_SetString(PyExc_AssertionError, "attempt to release recursive lock not owned by thread: the thread that called acquire() calls release()");
        return NULL;
    }
    Py_RETURN_NONE;
}

PyObject *py_lock_release(PyObject *lock)
{
    return ((CellObject *)lock)->kind == PP_RLOCK ? rlock_release(lock, NULL) : lock_release(lock, NULL);
}

static PyObject *rlock_enter(PyObject *object, PyObject *ignored)
{
    (void)ignored;
    return truth(acquire_again((CellObject *)object, PP_FOREVER));
}

static PyObject *rlock_exit(PyObject *object, PyObject *const *args, Py_ssize_t count)
{
    (void)args;
    (void)count;
    return rlock_release(object, NULL);
}

static PyObject *is_mine(PyObject *object, PyObject *ignored)
{
    (void)ignored;
    CellObject *self = (CellObject *)object;
    return PyBool_FromLong(pp_lock_is_mine(self->chunk, self->cell, py_thread()));
}

static PyObject *locked(PyObject *object, PyObject *ignored)
{
    (void)ignored;
    return PyBool_FromLong((pp_load(&((CellObject *)object)->cell->word) & PP_TAG_MASK) != 0);
}

/* How often this process holds it, whichever thread. */
static PyObject *depth(PyObject *object, PyObject *ignored)
{
    (void)ignored;
    CellObject *self = (CellObject *)object;
    uint32_t me = pp_load_own(&self->chunk->tenant->me);
    if (me == 0 || (pp_load(&self->cell->word) & PP_TAG_MASK) != me) {
        return PyLong_FromLong(0);
    }
    /* One that a thread has taken at this moment does not say yet which: what stands there is of the holder before. */
    int is_told = pp_holder_process(pp_load64(&self->cell->lock.holder)) == me;
    return PyLong_FromUnsignedLong(is_told ? pp_load(&self->cell->lock.depth) : 1);
}

static PyObject *lock_adopt(PyObject *type, PyObject *const *args, Py_ssize_t count)
{
    return (PyObject *)py_cell_adopt((PyTypeObject *)type, args, count, PP_LOCK);
}

static PyObject *rlock_adopt(PyObject *type, PyObject *const *args, Py_ssize_t count)
{
    return (PyObject *)py_cell_adopt((PyTypeObject *)type, args, count, PP_RLOCK);
}

static PyGetSetDef attributes[] = {
    {"recovered", py_cell_recovered, NULL, "Whether the current hold came from an owner that died.", NULL},
    {"owner", py_cell_owner, NULL, "The pid of the process that holds it, or None.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

#define FAST(function) (PyCFunction)(void (*)(void))(function)

static PyMethodDef lock_methods[] = {
    {"acquire", FAST(lock_acquire), METH_FASTCALL | METH_KEYWORDS,
     "acquire($self, block=True, timeout=None)\n--\n\n"
     "Take it; wait while others hold it, up to `timeout` seconds. Return whether it was taken."},
    {"release", lock_release, METH_NOARGS,
     "release($self, /)\n--\n\n"
     "Give it back, whoever took it. ValueError if nobody holds it."},
    {"__enter__", lock_enter, METH_NOARGS, "acquire()"},
    {"__exit__", FAST(lock_exit), METH_FASTCALL, "release()"},
    {"locked", locked, METH_NOARGS,
     "locked($self, /)\n--\n\n"
     "Return whether it is held."},
    {"_is_mine", is_mine, METH_NOARGS, "_is_mine() -> bool: whether this thread holds it"},
    {"_count", depth, METH_NOARGS, "_count() -> int: how often this process holds it"},
    {"_where", py_cell_where, METH_NOARGS, "_where() -> (id, offset)"},
    {"_adopt", FAST(lock_adopt), METH_FASTCALL | METH_CLASS, "_adopt(id, offset) -> handle"},
    {NULL, NULL, 0, NULL},
};

static PyMethodDef rlock_methods[] = {
    {"acquire", FAST(rlock_acquire), METH_FASTCALL | METH_KEYWORDS,
     "acquire($self, block=True, timeout=None)\n--\n\n"
     "Take it, once more if this thread holds it; wait up to `timeout` seconds. Return whether it was taken."},
    {"release", rlock_release, METH_NOARGS,
     "release($self, /)\n--\n\n"
     "Give back one level. AssertionError if this thread does not hold it."},
    {"__enter__", rlock_enter, METH_NOARGS, "acquire()"},
    {"__exit__", FAST(rlock_exit), METH_FASTCALL, "release()"},
    {"locked", locked, METH_NOARGS,
     "locked($self, /)\n--\n\n"
     "Return whether it is held."},
    {"_is_mine", is_mine, METH_NOARGS, "_is_mine() -> bool: whether this thread holds it"},
    {"_count", depth, METH_NOARGS, "_count() -> int: how often this process holds it"},
    {"_where", py_cell_where, METH_NOARGS, "_where() -> (id, offset)"},
    {"_adopt", FAST(rlock_adopt), METH_FASTCALL | METH_CLASS, "_adopt(id, offset) -> handle"},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot lock_slots[] = {
    {Py_tp_new, lock_new}, {Py_tp_dealloc, py_cell_dealloc}, {Py_tp_methods, lock_methods},
    {Py_tp_getset, attributes}, {0, NULL},
};

static PyType_Slot rlock_slots[] = {
    {Py_tp_new, rlock_new}, {Py_tp_dealloc, py_cell_dealloc}, {Py_tp_methods, rlock_methods},
    {Py_tp_getset, attributes}, {0, NULL},
};

PyType_Spec py_lock_spec = {"polyproc._core.Lock", sizeof(CellObject), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE, lock_slots};
PyType_Spec py_rlock_spec = {"polyproc._core.RLock", sizeof(CellObject), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE, rlock_slots};
