#ifndef PY_PROCESS_H
#define PY_PROCESS_H

#include "bind/py_api.h"

PyObject *py_set_flag(PyObject *module, PyObject *const *args, Py_ssize_t count);
PyObject *py_set_name(PyObject *module, PyObject *name);
PyObject *py_refused_calls(PyObject *module, PyObject *ignored);
PyObject *py_batch_begin(PyObject *module, PyObject *const *args, Py_ssize_t count);
PyObject *py_batch_claim(PyObject *module, PyObject *buffer);
PyObject *py_batch_close(PyObject *module, PyObject *const *args, Py_ssize_t count);
#ifdef PP_CRASHPOINTS
PyObject *py_crash_at(PyObject *module, PyObject *name);
#endif

#endif
