#ifndef PY_PROCESS_H
#define PY_PROCESS_H

#ifndef Py_LIMITED_API
#define Py_LIMITED_API 0x030b0000
#endif
#define PY_SSIZE_T_CLEAN
#include <Python.h>

PyObject *py_set_flag(PyObject *module, PyObject *const *args, Py_ssize_t count);
PyObject *py_set_name(PyObject *module, PyObject *name);
PyObject *py_refused_calls(PyObject *module, PyObject *ignored);
PyObject *py_batch_begin(PyObject *module, PyObject *const *args, Py_ssize_t count);
PyObject *py_batch_take(PyObject *module, PyObject *buffer);
PyObject *py_batch_close(PyObject *module, PyObject *const *args, Py_ssize_t count);
#ifdef PP_CRASHPOINTS
PyObject *py_crash_at(PyObject *module, PyObject *name);
#endif

#endif
