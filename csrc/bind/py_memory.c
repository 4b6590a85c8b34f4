/* Typed shared memory: Memory (bytes), Scalar and Array (numbers and characters, each with its lock). */
#include "bind/py_item.h"

#include "core/pp_memory.h"

#include <errno.h>
#include <string.h>
#include <wchar.h>

#include "bind/py_types.h"
#include "core/pp_futex.h"

#define FAST(function) (PyCFunction)(void (*)(void))(function)

typedef struct {
    CellObject base;
    size_t size;   /* bytes */
    size_t length; /* items */
    size_t width;  /* bytes of an item */
    Py_ssize_t shape, stride;
    char *bytes;
    char code;
    char format[2];
    char locking; /* how its lock is taken: one of the below */
} MemoryObject;

enum { NO_LOCK, OUR_LOCK, OUR_RLOCK, ANY_LOCK };

/* -- locking -- */

static char locking_of(PyObject *lock)
{
    if (lock == Py_None) {
        return NO_LOCK;
    }
    if (!py_is_lock(lock)) {
        return ANY_LOCK;
    }
    return ((CellObject *)lock)->kind == PP_RLOCK ? OUR_RLOCK : OUR_LOCK;
}

/* Ours are taken without a call of Python. 0, or -1 with an exception. */
static int lock(MemoryObject *self)
{
    PyObject *lock = self->base.lock;
    if (self->locking == OUR_RLOCK) {
        return py_rlock_acquire((CellObject *)lock, PP_FOREVER) < 0 ? -1 : 0;
    }
    if (self->locking == OUR_LOCK) {
        return py_lock_acquire((CellObject *)lock, PP_FOREVER) < 0 ? -1 : 0;
    }
    if (self->locking == NO_LOCK) {
        return 0;
    }
    PyObject *done = PyObject_CallMethod(lock, "acquire", NULL);
    Py_XDECREF(done);
    return done == NULL ? -1 : 0;
}

/* Give it back; keeps an exception that is set. 0, or -1. */
static int unlock(MemoryObject *self)
{
    CellObject *ours = (CellObject *)self->base.lock;
    if (self->locking == OUR_RLOCK) {
        pp_rlock_release(ours->chunk, ours->cell, py_thread());
        return 0;
    }
    if (self->locking == OUR_LOCK) {
        pp_lock_give(ours->chunk, ours->cell);
        return 0;
    }
    if (self->locking == NO_LOCK) {
        return 0;
    }
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    PyObject *done = PyObject_CallMethod(self->base.lock, "release", NULL);
    Py_XDECREF(done);
    if (type != NULL) {
        PyErr_Restore(type, value, traceback);
    }
    return done == NULL ? -1 : 0;
}

/* -- making -- */

static PyObject *finish(MemoryObject *self, size_t size, char code, PyObject *lock_object)
{
    if (self == NULL) {
        return NULL;
    }
    self->size = size;
    self->bytes = pp_memory_bytes(self->base.cell);
    self->width = py_item_width(code);
    self->length = self->size / self->width;
    self->code = code;
    self->format[0] = code == 'u' ? 'w' : code;
    self->shape = (Py_ssize_t)self->length;
    self->stride = (Py_ssize_t)self->width;
    self->base.lock = Py_NewRef(lock_object);
    self->locking = locking_of(lock_object);
    return (PyObject *)self;
}

static char code_of(PyObject *object)
{
    const char *text = PyUnicode_Check(object) ? PyUnicode_AsUTF8AndSize(object, NULL) : NULL;
    char code = text != NULL && text[0] != '\0' && text[1] == '\0' ? text[0] : '\0';
    PyErr_Clear();
    if (py_item_width(code) == 0) {
        PyErr_SetString(PyExc_TypeError, "this type code needs a ctypes object");
        return '\0';
    }
    return code;
}

/* Memory(code, length, lock, /), and Scalar and Array the same */
static PyObject *memory_new(PyTypeObject *type, PyObject *args, PyObject *names)
{
    (void)names;
    PyObject *code_object, *lock_object;
    Py_ssize_t length;
    if (!PyArg_ParseTuple(args, "OnO", &code_object, &length, &lock_object)) {
        return NULL;
    }
    char code = code_of(code_object);
    if (code == '\0') {
        return NULL;
    }
    if (length < 0) {
        PyErr_Format(PyExc_ValueError, "Array length must be >= 0, not %zd", length);
        return NULL;
    }
    if ((size_t)length > ((size_t)1 << 45) / py_item_width(code)) {
        return py_no_room(ENOMEM, (size_t)length, py_item_width(code));
    }
    size_t size = (size_t)length * py_item_width(code);
    MemoryObject *self = (MemoryObject *)py_cell_make(type, sizeof(struct pp_cell) + size, PP_MEMORY);
    if (self != NULL) {
        pp_store64(&self->base.cell->memory.size, size); /* killed here: nobody else has it yet */
    }
    return finish(self, size, code, lock_object);
}

/* _adopt(id, offset, code, lock) */
static PyObject *memory_adopt(PyObject *type, PyObject *const *args, Py_ssize_t count)
{
    if (count != 4) {
        PyErr_SetString(PyExc_TypeError, "_adopt() takes the id of a chunk, an offset, a type code and a lock");
        return NULL;
    }
    char code = code_of(args[2]);
    if (code == '\0') {
        return NULL;
    }
    MemoryObject *self = (MemoryObject *)py_cell_adopt((PyTypeObject *)type, args, 2, PP_MEMORY);
    size_t size = 0;
    if (self != NULL && !pp_memory_check(self->base.chunk, self->base.offset, &size)) {
        Py_DECREF(self);
        PyErr_SetString(PyExc_ValueError, "there is no whole memory at this place");
        return NULL;
    }
    return finish(self, size, code, args[3]);
}

static int get_buffer(PyObject *object, Py_buffer *view, int flags)
{
    MemoryObject *self = (MemoryObject *)object;
    if (PyBuffer_FillInfo(view, object, self->bytes, (Py_ssize_t)self->size, 0, flags) < 0) {
        return -1;
    }
    view->itemsize = (Py_ssize_t)self->width;
    if ((flags & PyBUF_FORMAT) != 0) {
        view->format = self->format;
    }
    if ((flags & PyBUF_ND) != 0) {
        view->shape = &self->shape;
    }
    if ((flags & PyBUF_STRIDES) == PyBUF_STRIDES) {
        view->strides = &self->stride;
    }
    return 0;
}

static PyObject *get_lock(PyObject *self, PyObject *ignored)
{
    (void)ignored;
    return Py_NewRef(((CellObject *)self)->lock);
}

static PyObject *enter(PyObject *self, PyObject *ignored)
{
    (void)ignored;
    return PyObject_CallMethod(((CellObject *)self)->lock, "__enter__", NULL);
}

static PyObject *leave(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    if (count != 3) {
        PyErr_SetString(PyExc_TypeError, "__exit__() takes 3 arguments");
        return NULL;
    }
    return PyObject_CallMethod(((CellObject *)self)->lock, "__exit__", "OOO", args[0], args[1], args[2]);
}

static PyObject *code(PyObject *self, void *ignored)
{
    (void)ignored;
    char text[2] = {((MemoryObject *)self)->code, '\0'};
    return PyUnicode_FromString(text);
}

/* -- Scalar -- */

static PyObject *scalar_get(PyObject *object, void *ignored)
{
    (void)ignored;
    MemoryObject *self = (MemoryObject *)object;
    if (self->length == 0) {
        PyErr_SetString(PyExc_ValueError, "there is no value at this place");
        return NULL;
    }
    if (lock(self) < 0) {
        return NULL;
    }
    PyObject *value = py_item_get(self->bytes, self->code);
    if (unlock(self) < 0) {
        Py_CLEAR(value);
    }
    return value;
}

/* Objects are made into bytes before the lock is taken: that may run Python code. */
static int scalar_set(PyObject *object, PyObject *value, void *ignored)
{
    (void)ignored;
    MemoryObject *self = (MemoryObject *)object;
    char made[sizeof(long long)];
    if (value == NULL || self->length == 0) {
        PyErr_SetString(PyExc_TypeError, value == NULL ? "can't delete attribute" : "there is no value at this place");
        return -1;
    }
    if (py_item_set(made, self->code, value) < 0 || lock(self) < 0) {
        return -1;
    }
    memcpy(self->bytes, made, self->width);
    return unlock(self);
}

static PyObject *scalar_add(PyObject *object, PyObject *amount)
{
    MemoryObject *self = (MemoryObject *)object;
    if (self->code == 'c' || self->code == 'u' || self->code == '?' || self->length == 0) {
        PyErr_SetString(PyExc_TypeError, "add() needs a number");
        return NULL;
    }
    char made[sizeof(long long)] = {0};
    if (py_item_set(made, self->code, amount) < 0 || lock(self) < 0) {
        return NULL;
    }
    if (self->code == 'f' || self->code == 'd') {
        float narrow, narrow_more;
        double wide, wide_more;
        if (self->code == 'f') {
            memcpy(&narrow, self->bytes, sizeof narrow);
            memcpy(&narrow_more, made, sizeof narrow);
            narrow += narrow_more;
            memcpy(self->bytes, &narrow, sizeof narrow);
        } else {
            memcpy(&wide, self->bytes, sizeof wide);
            memcpy(&wide_more, made, sizeof wide);
            wide += wide_more;
            memcpy(self->bytes, &wide, sizeof wide);
        }
    } else {
        unsigned long long sum = 0, more = 0;
        /* Low bytes of a little-endian word; of a big-endian one, the high ones: shifted down and up again. */
        memcpy(&sum, self->bytes, self->width);
        memcpy(&more, made, self->width);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
        int unused = (int)(8 * (sizeof sum - self->width));
        sum = ((sum >> unused) + (more >> unused)) << unused;
#else
        sum += more;
#endif
        memcpy(self->bytes, &sum, self->width);
    }
    PyObject *value = py_item_get(self->bytes, self->code);
    if (unlock(self) < 0) {
        Py_CLEAR(value);
    }
    return value;
}

/* -- Array -- */

static Py_ssize_t array_length(PyObject *self) { return (Py_ssize_t)((MemoryObject *)self)->length; }

static PyObject *array_item(MemoryObject *self, Py_ssize_t index)
{
    if (index < 0 || (size_t)index >= self->length) {
        PyErr_SetString(PyExc_IndexError, "invalid index");
        return NULL;
    }
    if (lock(self) < 0) {
        return NULL;
    }
    PyObject *value = py_item_get(self->bytes + (size_t)index * self->width, self->code);
    if (unlock(self) < 0) {
        Py_CLEAR(value);
    }
    return value;
}

static PyObject *sequence_item(PyObject *self, Py_ssize_t index) { return array_item((MemoryObject *)self, index); }

static PyObject *array_slice(MemoryObject *self, PyObject *slice)
{
    Py_ssize_t start, stop, step;
    if (PySlice_Unpack(slice, &start, &stop, &step) < 0) {
        return NULL;
    }
    Py_ssize_t count = PySlice_AdjustIndices((Py_ssize_t)self->length, &start, &stop, step);
    char *copy = PyMem_Malloc((size_t)count * self->width + 1);
    if (copy == NULL) {
        return PyErr_NoMemory();
    }
    if (lock(self) < 0) {
        PyMem_Free(copy);
        return NULL;
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        memcpy(copy + (size_t)i * self->width, self->bytes + (size_t)(start + i * step) * self->width, self->width);
    }
    int failed = unlock(self);
    PyObject *result = NULL;
    if (failed < 0) {
        /* the exception is set */
    } else if (self->code == 'c') {
        result = PyBytes_FromStringAndSize(copy, count);
    } else if (self->code == 'u') {
        result = PyUnicode_FromWideChar((wchar_t *)(void *)copy, count);
    } else {
        result = PyList_New(count);
        for (Py_ssize_t i = 0; result != NULL && i < count; i++) {
            PyObject *item = py_item_get(copy + (size_t)i * self->width, self->code);
            if (item == NULL) {
                Py_CLEAR(result);
            } else {
                PyList_SetItem(result, i, item);
            }
        }
    }
    PyMem_Free(copy);
    return result;
}

static PyObject *array_subscript(PyObject *object, PyObject *key)
{
    MemoryObject *self = (MemoryObject *)object;
    if (PyIndex_Check(key)) {
        Py_ssize_t index = PyNumber_AsSsize_t(key, PyExc_IndexError);
        if (index == -1 && PyErr_Occurred()) {
            return NULL;
        }
        return array_item(self, index < 0 ? index + (Py_ssize_t)self->length : index);
    }
    if (Py_TYPE(key) == &PySlice_Type) {
        return array_slice(self, key);
    }
    PyErr_SetString(PyExc_TypeError, "indices must be integers");
    return NULL;
}

static int assign_slice(MemoryObject *self, PyObject *slice, PyObject *values)
{
    Py_ssize_t start, stop, step;
    if (PySlice_Unpack(slice, &start, &stop, &step) < 0) {
        return -1;
    }
    Py_ssize_t count = PySlice_AdjustIndices((Py_ssize_t)self->length, &start, &stop, step);
    PyObject *items = PySequence_List(values);
    if (items == NULL) {
        return -1;
    }
    int result = -1;
    char *made = PyMem_Malloc((size_t)count * self->width + 1);
    if (made == NULL) {
        PyErr_NoMemory();
    } else if (PyList_Size(items) != count) {
        PyErr_SetString(PyExc_ValueError, "Can only assign sequence of same size");
    } else {
        Py_ssize_t i = 0;
        while (i < count && py_item_set(made + (size_t)i * self->width, self->code, PyList_GetItem(items, i)) == 0) {
            i++;
        }
        if (i == count && lock(self) == 0) {
            for (i = 0; i < count; i++) {
                memcpy(self->bytes + (size_t)(start + i * step) * self->width, made + (size_t)i * self->width, self->width);
            }
            result = unlock(self);
        }
    }
    PyMem_Free(made);
    Py_DECREF(items);
    return result;
}

static int array_assign(PyObject *object, PyObject *key, PyObject *value)
{
    MemoryObject *self = (MemoryObject *)object;
    char made[sizeof(long long)];
    if (value == NULL) {
        PyErr_SetString(PyExc_TypeError, "Array does not support item deletion");
        return -1;
    }
    if (Py_TYPE(key) == &PySlice_Type) {
        return assign_slice(self, key, value);
    }
    if (!PyIndex_Check(key)) {
        PyErr_SetString(PyExc_TypeError, "indices must be integer");
        return -1;
    }
    Py_ssize_t index = PyNumber_AsSsize_t(key, PyExc_IndexError);
    if (index == -1 && PyErr_Occurred()) {
        return -1;
    }
    if (index < 0) {
        index += (Py_ssize_t)self->length;
    }
    if (index < 0 || (size_t)index >= self->length) {
        PyErr_SetString(PyExc_IndexError, "invalid index");
        return -1;
    }
    if (py_item_set(made, self->code, value) < 0 || lock(self) < 0) {
        return -1;
    }
    memcpy(self->bytes + (size_t)index * self->width, made, self->width);
    return unlock(self);
}

/* -- types -- */

#define COMMON                                                                                                      \
    {"get_lock", get_lock, METH_NOARGS, "get_lock() -> the lock"},                                                   \
        {"__enter__", enter, METH_NOARGS, "take the lock"}, {"__exit__", FAST(leave), METH_FASTCALL, "give it back"}, \
        {"_where", py_cell_where, METH_NOARGS, "_where() -> (id, offset)"},                                           \
    {                                                                                                               \
        "_adopt", FAST(memory_adopt), METH_FASTCALL | METH_CLASS, "_adopt(id, offset, code, lock) -> handle"          \
    }

static PyMethodDef memory_methods[] = {
    {"_where", py_cell_where, METH_NOARGS, "_where() -> (id, offset)"},
    {"_adopt", FAST(memory_adopt), METH_FASTCALL | METH_CLASS, "_adopt(id, offset, code, lock) -> handle"},
    {NULL, NULL, 0, NULL},
};

static PyMethodDef scalar_methods[] = {
    COMMON,
    {"add", scalar_add, METH_O,
     "add($self, amount, /)\n--\n\n"
     "Add to the value and return the new one: one step for all who use the lock."},
    {NULL, NULL, 0, NULL},
};

static PyMethodDef array_methods[] = {COMMON, {NULL, NULL, 0, NULL}};

static PyGetSetDef memory_attributes[] = {
    {"_code", code, NULL, "The type code.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyGetSetDef scalar_attributes[] = {
    {"value", scalar_get, scalar_set, "The value; read and written under the lock.", NULL},
    {"_code", code, NULL, "The type code.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot memory_slots[] = {
    {Py_tp_new, memory_new}, {Py_tp_dealloc, py_cell_dealloc}, {Py_tp_methods, memory_methods},
    {Py_tp_getset, memory_attributes}, {Py_bf_getbuffer, get_buffer}, {0, NULL},
};

static PyType_Slot scalar_slots[] = {
    {Py_tp_new, memory_new}, {Py_tp_dealloc, py_cell_dealloc}, {Py_tp_methods, scalar_methods},
    {Py_tp_getset, scalar_attributes}, {Py_bf_getbuffer, get_buffer}, {0, NULL},
};

static PyType_Slot array_slots[] = {
    {Py_tp_new, memory_new}, {Py_tp_dealloc, py_cell_dealloc}, {Py_tp_methods, array_methods},
    {Py_tp_getset, memory_attributes}, {Py_bf_getbuffer, get_buffer}, {Py_mp_length, array_length},
    {Py_mp_subscript, array_subscript}, {Py_mp_ass_subscript, array_assign}, {Py_sq_length, array_length},
    {Py_sq_item, sequence_item}, {0, NULL},
};

#define FLAGS (Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE)

PyType_Spec py_memory_spec = {"polyproc._core.Memory", sizeof(MemoryObject), 0, FLAGS, memory_slots};
PyType_Spec py_scalar_spec = {"polyproc._core.Scalar", sizeof(MemoryObject), 0, FLAGS, scalar_slots};
PyType_Spec py_array_spec = {"polyproc._core.Array", sizeof(MemoryObject), 0, FLAGS, array_slots};
