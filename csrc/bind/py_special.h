/* What makes the methods of a class of ours as cheap to call as the interpreter can. */
#ifndef PY_SPECIAL_H
#define PY_SPECIAL_H

#ifndef Py_LIMITED_API
#define Py_LIMITED_API 0x030b0000
#endif
#define PY_SSIZE_T_CLEAN
#include <Python.h>

extern PyType_Spec py_special_spec, py_bound_spec;

/* direct(cls) -> cls: give a class of Python the methods of the C class that it extends as its own. */
PyObject *py_direct(PyObject *module, PyObject *cls);

#endif
