/* Two things that a process says of itself, and that Python code cannot set. No algorithm here. */
#include "bind/py_process.h"

#include <sys/prctl.h>

#include "core/pp_probe.h"

/* sys.flags is a struct sequence: Python code can neither change it nor make another. */
PyObject *py_set_flag(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    (void)module;
    if (count != 2) {
        PyErr_SetString(PyExc_TypeError, "set_flag() takes an index and a value");
        return NULL;
    }
    Py_ssize_t index = PyLong_AsSsize_t(args[0]);
    PyObject *flags = PySys_GetObject("flags");
    if (index == -1 && PyErr_Occurred()) {
        return NULL;
    }
    if (flags == NULL || !PyTuple_Check(flags) || index < 0 || index >= PyTuple_Size(flags)) {
        PyErr_SetString(PyExc_IndexError, "sys.flags has no such index");
        return NULL;
    }
    PyObject *before = PyStructSequence_GetItem(flags, index);
    Py_INCREF(args[1]);
    PyStructSequence_SetItem(flags, index, args[1]); /* steals the reference, and does not drop the one before */
    Py_XDECREF(before);
    Py_RETURN_NONE;
}

/* What ps shows, as prctl(2) with PR_SET_NAME sets it: 15 bytes of it. */
PyObject *py_set_name(PyObject *module, PyObject *name)
{
    (void)module;
    const char *text = PyUnicode_AsUTF8AndSize(name, NULL);
    if (text == NULL) {
        return NULL;
    }
    if (prctl(PR_SET_NAME, text) != 0) {
        return PyErr_SetFromErrno(PyExc_OSError);
    }
    Py_RETURN_NONE;
}

/* Which of the core's system calls are refused here. */
PyObject *py_refused_calls(PyObject *module, PyObject *ignored)
{
    (void)module;
    (void)ignored;
    struct pp_probed found[PP_PROBES];
    pp_probe(found);
    PyObject *refused = PyDict_New();
    for (int i = 0; refused != NULL && i < PP_PROBES; i++) {
        PyObject *error = found[i].error == 0 ? NULL : PyLong_FromLong(found[i].error);
        if (error != NULL && PyDict_SetItemString(refused, found[i].call, error) < 0) {
            Py_CLEAR(refused);
        }
        Py_XDECREF(error);
    }
    return refused;
}

#ifdef PP_CRASHPOINTS
#include <string.h>

#include "core/pp_crash.h"

PyObject *py_crash_at(PyObject *module, PyObject *name)
{
    (void)module;
    const char *text = PyUnicode_AsUTF8AndSize(name, NULL);
    if (text == NULL) {
        return NULL;
    }
    strncpy(pp_crash_wanted, text, sizeof pp_crash_wanted - 1);
    Py_RETURN_NONE;
}
#endif
