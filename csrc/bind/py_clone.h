#ifndef PY_CLONE_H
#define PY_CLONE_H

#include "bind/py_api.h"

PyObject *py_clone_ready(PyObject *module, PyObject *ignored);
PyObject *py_clone_sibling(PyObject *module, PyObject *ignored);
PyObject *py_hang_on(PyObject *module, PyObject *fd);
PyObject *py_let_go(PyObject *module, PyObject *fd);
PyObject *py_fork_parked(PyObject *module, PyObject *args);
PyObject *py_team_pids(PyObject *module, PyObject *args);

#endif
