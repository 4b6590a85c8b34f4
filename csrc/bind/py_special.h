/* What makes the methods of a class of ours as cheap to call as the interpreter can. */
#ifndef PY_SPECIAL_H
#define PY_SPECIAL_H

#include "bind/py_api.h"

extern PyType_Spec py_special_spec, py_bound_spec;

/* direct(cls) -> cls: give a class of Python the methods of the C class that it extends as its own. */
PyObject *py_direct(PyObject *module, PyObject *cls);

#endif
