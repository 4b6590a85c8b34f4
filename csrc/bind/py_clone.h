#ifndef PY_CLONE_H
#define PY_CLONE_H

#ifndef Py_LIMITED_API
#define Py_LIMITED_API 0x030b0000
#endif
#define PY_SSIZE_T_CLEAN
#include <Python.h>

PyObject *py_clone_ready(PyObject *module, PyObject *ignored);
PyObject *py_clone_sibling(PyObject *module, PyObject *ignored);

#endif
