/* Methods of a class of Python that extends one of ours, as its own.
 *
 * The interpreter calls a method of C without a detour only if the object is exactly of the class that the method was made
 * for; an inherited one costs twice as much. So `direct` makes the methods anew for the class that is used.
 *
 * `with` looks __enter__ and __exit__ up by their descriptors' __get__, and so makes two bound methods for each block, and
 * frees them, which costs more than the lock does. A SpecialMethod keeps the last one that was freed:
 *
 *     with lock:   __get__ -> BoundSpecial (the one that is kept, if it is there) -> called -> freed: kept again
 *
 * The functions behind are those of the method table: __enter__ is METH_NOARGS, __exit__ is METH_FASTCALL.
 *
 * One SpecialMethod belongs to one interpreter, and its GIL is all the protection that it needs. Without a GIL nothing is kept:
 * threads would hinder each other with the one that is, and each has memory of its own for small objects.
 */
#include "bind/py_special.h"

#include <stddef.h>
#include <string.h>
#include <structmember.h>

/* PEP 590; in the limited API by these names from 3.12 on, in the interpreter since 3.8. */
#ifndef Py_TPFLAGS_HAVE_VECTORCALL
#define Py_TPFLAGS_HAVE_VECTORCALL (1UL << 11)
#endif
typedef PyObject *(*vector_call)(PyObject *callable, PyObject *const *args, size_t count, PyObject *names);
#define COUNT(count) ((count) & ~((size_t)1 << (8 * sizeof(size_t) - 1)))

typedef struct BoundSpecial BoundSpecial;

typedef struct {
    PyObject_HEAD
    vector_call call;
    PyMethodDef *method;
    PyObject *owner;
    PyObject *bound_type;
    BoundSpecial *kept; /* not alive: its count is zero */
} SpecialMethod;

struct BoundSpecial {
    PyObject_HEAD
    vector_call call;
    PyObject *self;
    SpecialMethod *special;
};

static PyObject *run(PyMethodDef *method, PyObject *self, PyObject *const *args, size_t count, PyObject *names)
{
    if (names != NULL && PyObject_Size(names) != 0) { /* a tuple of names, or a dict */
        return PyErr_Format(PyExc_TypeError, "%s() takes no keyword arguments", method->ml_name);
    }
    if (method->ml_flags == METH_FASTCALL) {
        typedef PyObject *(*fast)(PyObject *, PyObject *const *, Py_ssize_t);
        return ((fast)(void (*)(void))method->ml_meth)(self, args, (Py_ssize_t)count);
    }
    if (count != 0) {
        return PyErr_Format(PyExc_TypeError, "%s() takes no arguments", method->ml_name);
    }
    return method->ml_meth(self, NULL);
}

static PyObject *bound_call(PyObject *callable, PyObject *const *args, size_t count, PyObject *names)
{
    BoundSpecial *bound = (BoundSpecial *)callable;
    return run(bound->special->method, bound->self, args, COUNT(count), names);
}

static int is_owned(SpecialMethod *special, PyObject *self)
{
    PyTypeObject *owner = (PyTypeObject *)special->owner;
    if (Py_TYPE(self) == owner || PyType_IsSubtype(Py_TYPE(self), owner)) {
        return 1;
    }
    PyErr_Format(PyExc_TypeError, "%s() needs an object of its own class, not %R", special->method->ml_name, Py_TYPE(self));
    return 0;
}

static PyObject *special_call(PyObject *callable, PyObject *const *args, size_t count, PyObject *names)
{
    SpecialMethod *special = (SpecialMethod *)callable;
    if (COUNT(count) == 0) {
        return PyErr_Format(PyExc_TypeError, "unbound method %s() needs an argument", special->method->ml_name);
    }
    return is_owned(special, args[0]) ? run(special->method, args[0], args + 1, COUNT(count) - 1, names) : NULL;
}

/* What tp_call of both does, for callers that have a tuple. In both `call` comes first. */
static PyObject *call_tuple(PyObject *callable, PyObject *args, PyObject *named)
{
    size_t count = (size_t)PyTuple_Size(args);
    PyObject **array = PyMem_Calloc(count + 1, sizeof(PyObject *));
    if (array == NULL) {
        return PyErr_NoMemory();
    }
    for (size_t i = 0; i < count; i++) {
        array[i] = PyTuple_GetItem(args, (Py_ssize_t)i); /* borrowed from the tuple */
    }
    PyObject *answer = (*(vector_call *)((char *)callable + offsetof(SpecialMethod, call)))(callable, array, count, named);
    PyMem_Free(array);
    return answer;
}

#if defined(Py_GIL_DISABLED)
static BoundSpecial *take_kept(SpecialMethod *special)
{
    (void)special;
    return NULL;
}

static int keep(SpecialMethod *special, BoundSpecial *bound)
{
    (void)special;
    (void)bound;
    return 0;
}
#else
static BoundSpecial *take_kept(SpecialMethod *special)
{
    BoundSpecial *bound = special->kept;
    special->kept = NULL;
    return bound;
}

static int keep(SpecialMethod *special, BoundSpecial *bound)
{
    int keeps = special->kept == NULL;
    if (keeps) {
        special->kept = bound;
    }
    return keeps;
}
#endif

static PyObject *get(PyObject *descriptor, PyObject *self, PyObject *type)
{
    (void)type;
    SpecialMethod *special = (SpecialMethod *)descriptor;
    if (self == NULL || self == Py_None) {
        Py_INCREF(descriptor);
        return descriptor;
    }
    if (!is_owned(special, self)) {
        return NULL;
    }
    BoundSpecial *bound = take_kept(special);
    if (bound != NULL) {
        PyObject_Init((PyObject *)bound, (PyTypeObject *)special->bound_type);
    } else {
        bound = PyObject_New(BoundSpecial, (PyTypeObject *)special->bound_type);
        if (bound == NULL) {
            return NULL;
        }
        bound->call = bound_call;
    }
    Py_INCREF(self);
    bound->self = self;
    Py_INCREF(descriptor);
    bound->special = special;
    return (PyObject *)bound;
}

static void bound_dealloc(PyObject *object)
{
    BoundSpecial *bound = (BoundSpecial *)object;
    SpecialMethod *special = bound->special;
    PyObject *type = (PyObject *)Py_TYPE(object);
    Py_DECREF(bound->self); /* may run code that binds another */
    if (!keep(special, bound)) {
        PyObject_Free(object);
    }
    Py_DECREF(type);
    Py_DECREF(special); /* if it was the last one, it frees what it keeps */
}

static void special_dealloc(PyObject *object)
{
    SpecialMethod *special = (SpecialMethod *)object;
    PyObject *type = (PyObject *)Py_TYPE(object);
    if (special->kept != NULL) {
        PyObject_Free(special->kept);
    }
    Py_DECREF(special->owner);
    Py_DECREF(special->bound_type);
    PyObject_Free(object);
    Py_DECREF(type);
}

static PyObject *special_name(PyObject *object, void *ignored)
{
    (void)ignored;
    return PyUnicode_FromString(((SpecialMethod *)object)->method->ml_name);
}

static PyObject *special_doc(PyObject *object, void *ignored)
{
    (void)ignored;
    return PyUnicode_FromString(((SpecialMethod *)object)->method->ml_doc);
}

static PyObject *bound_name(PyObject *object, void *ignored)
{
    return special_name((PyObject *)((BoundSpecial *)object)->special, ignored);
}

static PyObject *bound_doc(PyObject *object, void *ignored)
{
    return special_doc((PyObject *)((BoundSpecial *)object)->special, ignored);
}

static PyMemberDef special_members[] = {
    {"__vectorcalloffset__", T_PYSSIZET, offsetof(SpecialMethod, call), READONLY, NULL},
    {"__objclass__", T_OBJECT_EX, offsetof(SpecialMethod, owner), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyMemberDef bound_members[] = {
    {"__vectorcalloffset__", T_PYSSIZET, offsetof(BoundSpecial, call), READONLY, NULL},
    {"__self__", T_OBJECT_EX, offsetof(BoundSpecial, self), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyGetSetDef special_attributes[] = {
    {"__name__", special_name, NULL, NULL, NULL},
    {"__doc__", special_doc, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyGetSetDef bound_attributes[] = {
    {"__name__", bound_name, NULL, NULL, NULL},
    {"__doc__", bound_doc, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot special_slots[] = {
    {Py_tp_dealloc, special_dealloc}, {Py_tp_call, call_tuple},
    {Py_tp_descr_get, get},           {Py_tp_members, special_members},
    {Py_tp_getset, special_attributes}, {0, NULL},
};

static PyType_Slot bound_slots[] = {
    {Py_tp_dealloc, bound_dealloc}, {Py_tp_call, call_tuple}, {Py_tp_members, bound_members},
    {Py_tp_getset, bound_attributes}, {0, NULL},
};

#define FLAGS (Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_VECTORCALL | Py_TPFLAGS_DISALLOW_INSTANTIATION)

PyType_Spec py_special_spec = {"polyproc._core.SpecialMethod", sizeof(SpecialMethod), 0,
                               FLAGS | Py_TPFLAGS_METHOD_DESCRIPTOR | Py_TPFLAGS_IMMUTABLETYPE, special_slots};
PyType_Spec py_bound_spec = {"polyproc._core.BoundSpecial", sizeof(BoundSpecial), 0, FLAGS | Py_TPFLAGS_IMMUTABLETYPE,
                             bound_slots};

static PyObject *make_special(PyObject *module, PyObject *owner, PyMethodDef *method)
{
    PyObject *type = PyObject_GetAttrString(module, "SpecialMethod");
    PyObject *bound_type = PyObject_GetAttrString(module, "BoundSpecial");
    int found = type != NULL && bound_type != NULL;
    SpecialMethod *special = found ? PyObject_New(SpecialMethod, (PyTypeObject *)type) : NULL;
    Py_XDECREF(type);
    if (special == NULL) {
        Py_XDECREF(bound_type);
        return NULL;
    }
    special->call = special_call;
    special->method = method;
    Py_INCREF(owner);
    special->owner = owner;
    special->bound_type = bound_type;
    special->kept = NULL;
    return (PyObject *)special;
}

static int give(PyObject *module, PyObject *cls, PyMethodDef *method)
{
    int is_special = (strcmp(method->ml_name, "__enter__") == 0 && method->ml_flags == METH_NOARGS) ||
                     (strcmp(method->ml_name, "__exit__") == 0 && method->ml_flags == METH_FASTCALL);
    PyObject *made = is_special ? make_special(module, cls, method) : PyDescr_NewMethod((PyTypeObject *)cls, method);
    if (made == NULL) {
        return -1;
    }
    int failed = PyObject_SetAttrString(cls, method->ml_name, made);
    Py_DECREF(made);
    return failed;
}

PyObject *py_direct(PyObject *module, PyObject *cls)
{
    if (!PyType_Check(cls)) {
        return PyErr_Format(PyExc_TypeError, "direct() takes a class, not %R", cls);
    }
    PyTypeObject *base = (PyTypeObject *)cls;
    PyMethodDef *method = NULL;
    while (base != &PyBaseObject_Type && (method = (PyMethodDef *)PyType_GetSlot(base, Py_tp_methods)) == NULL) {
        base = (PyTypeObject *)PyType_GetSlot(base, Py_tp_base);
    }
    PyObject *own = PyObject_GetAttrString(cls, "__dict__");
    if (own == NULL) {
        return NULL;
    }
    for (; method != NULL && method->ml_name != NULL; method++) {
        PyObject *name = PyUnicode_FromString(method->ml_name);
        int has = name == NULL ? -1 : PySequence_Contains(own, name);
        Py_XDECREF(name);
        if (has < 0 || (has == 0 && !(method->ml_flags & (METH_CLASS | METH_STATIC)) &&
                        give(module, cls, method) < 0)) {
            Py_DECREF(own);
            return NULL;
        }
    }
    Py_DECREF(own);
    Py_INCREF(cls);
    return cls;
}
