/* Event and Condition. The algorithms are in core/pp_event and core/pp_condition. */
#include "bind/py_types.h"

#include "core/pp_event.h"

#include "core/pp_condition.h"
#include "core/pp_futex.h"

#define FAST(function) (PyCFunction)(void (*)(void))(function)

/* -- Event -- */

static PyObject *event_new(PyTypeObject *type, PyObject *args, PyObject *names)
{
    (void)args;
    (void)names;
    return (PyObject *)py_cell_make(type, sizeof(struct pp_cell), PP_EVENT);
}

static PyObject *event_adopt(PyObject *type, PyObject *const *args, Py_ssize_t count)
{
    return (PyObject *)py_cell_adopt((PyTypeObject *)type, args, count, PP_EVENT);
}

static PyObject *event_is_set(PyObject *self, PyObject *ignored)
{
    (void)ignored;
    return PyBool_FromLong(pp_event_is_set(((CellObject *)self)->cell));
}

static PyObject *event_set(PyObject *self, PyObject *ignored)
{
    (void)ignored;
    pp_event_set(((CellObject *)self)->cell);
    Py_RETURN_NONE;
}

static PyObject *event_clear(PyObject *self, PyObject *ignored)
{
    (void)ignored;
    pp_event_clear(((CellObject *)self)->cell);
    Py_RETURN_NONE;
}

static enum pp_answer event_step(CellObject *self, struct pp_wait *wait, int extra)
{
    (void)extra;
    return pp_event_wait(self->cell, wait);
}

static PyObject *event_wait(PyObject *object, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    CellObject *self = (CellObject *)object;
    int64_t deadline = PP_FOREVER;
    if (!py_wait_argument(args, count, names, &deadline)) {
        return NULL;
    }
    if (pp_event_is_set(self->cell)) {
        Py_RETURN_TRUE;
    }
    struct pp_wait wait;
    pp_wait_start(&wait, deadline, &self->spin);
    wait.seen = pp_event_look(self->cell);
    enum pp_answer answer = py_wait(event_step, self, &wait, 0);
    return answer == PP_FAILED ? NULL : PyBool_FromLong(answer == PP_DONE);
}

static PyMethodDef event_methods[] = {
    {"is_set", event_is_set, METH_NOARGS,
     "is_set($self, /)\n--\n\n"
     "Return whether it is set."},
    {"set", event_set, METH_NOARGS,
     "set($self, /)\n--\n\n"
     "Set it, and wake all waiters."},
    {"clear", event_clear, METH_NOARGS,
     "clear($self, /)\n--\n\n"
     "Clear it."},
    {"wait", FAST(event_wait), METH_FASTCALL | METH_KEYWORDS,
     "wait($self, timeout=None)\n--\n\n"
     "Wait until it is set, up to `timeout` seconds; return whether it is."},
    {"_where", py_cell_where, METH_NOARGS, "_where() -> (id, offset)"},
    {"_adopt", FAST(event_adopt), METH_FASTCALL | METH_CLASS, "_adopt(id, offset) -> handle"},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot event_slots[] = {
    {Py_tp_new, event_new}, {Py_tp_dealloc, py_cell_dealloc}, {Py_tp_methods, event_methods}, {0, NULL},
};

PyType_Spec py_event_spec = {
    "polyproc._core.Event", sizeof(CellObject), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE, event_slots,
};

/* -- Condition: its lock is a Lock or an RLock of this module, whose cell tells which -- */

/* Condition(lock, /) */
static PyObject *condition_new(PyTypeObject *type, PyObject *args, PyObject *names)
{
    (void)names;
    PyObject *lock = PyTuple_Size(args) > 0 ? PyTuple_GetItem(args, 0) : NULL;
    if (lock == NULL || !py_is_lock(lock)) {
        PyErr_Format(PyExc_TypeError, "a condition needs a Lock or an RLock of polyproc, and not %.60R", lock == NULL ? Py_None : lock);
        return NULL;
    }
    CellObject *self = py_cell_make(type, sizeof(struct pp_cell), PP_CONDITION);
    if (self != NULL) {
        self->lock = Py_NewRef(lock);
    }
    return (PyObject *)self;
}

/* _adopt(id, offset, lock) */
static PyObject *condition_adopt(PyObject *type, PyObject *const *args, Py_ssize_t count)
{
    if (count != 3 || !py_is_lock(args[2])) {
        PyErr_SetString(PyExc_TypeError, "_adopt() takes the id of a chunk, an offset and a lock");
        return NULL;
    }
    CellObject *self = py_cell_adopt((PyTypeObject *)type, args, 2, PP_CONDITION);
    if (self != NULL) {
        self->lock = Py_NewRef(args[2]);
    }
    return (PyObject *)self;
}

static int lock_is_mine(CellObject *self)
{
    CellObject *lock = (CellObject *)self->lock;
    return pp_lock_is_mine(lock->chunk, lock->cell, py_thread());
}

static enum pp_answer condition_step(CellObject *self, struct pp_wait *wait, int extra)
{
    (void)extra;
    return pp_condition_wait(self->cell, wait);
}

static enum pp_answer lock_step(CellObject *lock, struct pp_wait *wait, int extra)
{
    (void)extra;
    return pp_lock_wait(lock->chunk, lock->cell, wait);
}

/* Take the lock again, as deep as it was; keeps an exception that is set already. 0, or -1 with an exception.
 *
 * Who has slept may have been moved to the lock's word with others: it takes it marked, as one who was woken.
 */
static int acquire_again(CellObject *lock, uint64_t thread, uint32_t depth, int slept)
{
    PyObject *type, *value, *traceback;
    struct pp_wait wait;
    PyErr_Fetch(&type, &value, &traceback);
    pp_wait_start(&wait, PP_FOREVER, &lock->spin);
    wait.slept = slept;
    enum pp_answer answer = slept ? PP_AGAIN : pp_lock_try(lock->chunk, lock->cell);
    if (answer == PP_AGAIN || answer == PP_FAILED) {
        answer = py_wait(lock_step, lock, &wait, 0);
    }
    if (answer == PP_FAILED) {
        Py_XDECREF(type);
        Py_XDECREF(value);
        Py_XDECREF(traceback);
        return -1;
    }
    pp_store_own(&lock->recovered, 0);
    pp_lock_own(lock->chunk, lock->cell, thread, depth);
    if (answer == PP_RECOVERED && py_warn_owner_died(lock) < 0) {
        PyErr_Clear(); /* the lock is held, as a wait promises; the warning was given */
    }
    PyErr_Restore(type, value, traceback);
    return 0;
}

static PyObject *condition_wait(PyObject *object, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    CellObject *self = (CellObject *)object;
    CellObject *lock = (CellObject *)self->lock;
    uint64_t thread = py_thread();
    int64_t deadline = PP_FOREVER;
    if (!py_wait_argument(args, count, names, &deadline)) {
        return NULL;
    }
    if (!lock_is_mine(self)) {
        PyErr_SetString(PyExc_AssertionError, "must acquire() condition before using wait(): write `with condition: condition.wait()`");
        return NULL;
    }
    struct pp_wait wait;
    pp_wait_start(&wait, deadline, &self->spin);
    wait.seen = pp_condition_enter(self->cell);
    uint32_t depth = pp_load(&lock->cell->lock.depth);
    pp_lock_give(lock->chunk, lock->cell);
    enum pp_answer answer = py_wait(condition_step, self, &wait, 0);
    if (answer != PP_DONE && pp_condition_exit(self->cell, &wait, answer == PP_TIMED_OUT)) {
        answer = PP_DONE;
    }
    if (acquire_again(lock, thread, depth, wait.slept) < 0 || answer == PP_FAILED) {
        return NULL;
    }
    return PyBool_FromLong(answer == PP_DONE);
}

static PyObject *notify(CellObject *self, uint32_t count)
{
    if (!lock_is_mine(self)) {
        PyErr_SetString(PyExc_AssertionError, "lock is not owned: write `with condition: condition.notify()`");
        return NULL;
    }
    pp_condition_notify(self->cell, ((CellObject *)self->lock)->cell, count);
    Py_RETURN_NONE;
}

static PyObject *condition_notify(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    Py_ssize_t given = count + (names == NULL ? 0 : PyTuple_Size(names));
    long number = 1;
    if (given > 1) {
        PyErr_SetString(PyExc_TypeError, "notify() takes at most 1 argument: n");
        return NULL;
    }
    if (given == 1) {
        number = PyLong_AsLong(args[0]);
        if (number == -1 && PyErr_Occurred()) {
            return NULL;
        }
    }
    return notify((CellObject *)self, number < 0 ? 0 : number > 0x7fffffff ? 0x7fffffffu : (uint32_t)number);
}

static PyObject *condition_notify_all(PyObject *self, PyObject *ignored)
{
    (void)ignored;
    return notify((CellObject *)self, 0x7fffffffu);
}

static PyObject *condition_waiting(PyObject *self, PyObject *ignored)
{
    (void)ignored;
    return PyLong_FromUnsignedLong(pp_condition_waiting(((CellObject *)self)->cell));
}

static PyObject *condition_lock(PyObject *self, void *ignored)
{
    (void)ignored;
    return Py_NewRef(((CellObject *)self)->lock);
}

static PyObject *condition_enter(PyObject *object, PyObject *ignored)
{
    (void)ignored;
    CellObject *lock = (CellObject *)((CellObject *)object)->lock;
    int is_rlock = lock->kind == PP_RLOCK;
    if ((is_rlock ? py_rlock_acquire(lock, PP_FOREVER) : py_lock_acquire(lock, PP_FOREVER)) < 0) {
        return NULL;
    }
    Py_RETURN_TRUE;
}

static PyObject *condition_exit(PyObject *object, PyObject *const *args, Py_ssize_t count)
{
    (void)args;
    (void)count;
    return py_lock_release(((CellObject *)object)->lock);
}

static PyMethodDef condition_methods[] = {
    {"wait", FAST(condition_wait), METH_FASTCALL | METH_KEYWORDS,
     "wait($self, timeout=None)\n--\n\n"
     "Release the lock, wait to be notified, up to `timeout` seconds, take it again. Return whether notified."},
    {"notify", FAST(condition_notify), METH_FASTCALL | METH_KEYWORDS,
     "notify($self, n=1)\n--\n\n"
     "Wake up to `n` waiters. Its lock must be held."},
    {"notify_all", condition_notify_all, METH_NOARGS,
     "notify_all($self, /)\n--\n\n"
     "Wake all waiters. Its lock must be held."},
    {"__enter__", condition_enter, METH_NOARGS, "acquire()"},
    {"__exit__", FAST(condition_exit), METH_FASTCALL, "release()"},
    {"_waiting", condition_waiting, METH_NOARGS, "_waiting() -> int: how many wait, with those that were killed"},
    {"_where", py_cell_where, METH_NOARGS, "_where() -> (id, offset)"},
    {"_adopt", FAST(condition_adopt), METH_FASTCALL | METH_CLASS, "_adopt(id, offset, lock) -> handle"},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef condition_attributes[] = {
    {"_lock", condition_lock, NULL, "its lock", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot condition_slots[] = {
    {Py_tp_new, condition_new}, {Py_tp_dealloc, py_cell_dealloc}, {Py_tp_methods, condition_methods},
    {Py_tp_getset, condition_attributes}, {0, NULL},
};

PyType_Spec py_condition_spec = {
    "polyproc._core.Condition", sizeof(CellObject), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE, condition_slots,
};
