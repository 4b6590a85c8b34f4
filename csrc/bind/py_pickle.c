#include "bind/py_pickle.h"

#define DEPTH 4
#define NODES 48

static int is_plain(PyObject *object, int depth, int *nodes)
{
    if (--*nodes < 0) {
        return 0;
    }
    if (object == Py_None || PyLong_CheckExact(object) || PyUnicode_CheckExact(object) || PyFloat_CheckExact(object)
        || PyBytes_CheckExact(object) || PyBool_Check(object)) {
        return 1;
    }
    if (depth == DEPTH) {
        return 0;
    }
    if (PyTuple_CheckExact(object)) {
        Py_ssize_t size = PyTuple_Size(object);
        for (Py_ssize_t i = 0; i < size; i++) {
            if (!is_plain(PyTuple_GetItem(object, i), depth + 1, nodes)) {
                return 0;
            }
        }
        return 1;
    }
    if (PyList_CheckExact(object)) {
        for (Py_ssize_t i = 0; i < PyList_Size(object); i++) {
            if (!is_plain(PyList_GetItem(object, i), depth + 1, nodes)) {
                return 0;
            }
        }
        return 1;
    }
    if (PyDict_CheckExact(object)) {
        Py_ssize_t place = 0;
        PyObject *key, *value;
        while (PyDict_Next(object, &place, &key, &value)) {
            if (!is_plain(key, depth + 1, nodes) || !is_plain(value, depth + 1, nodes)) {
                return 0;
            }
        }
        return 1;
    }
    return 0;
}

int py_is_plain(PyObject *object)
{
    int nodes = NODES;
    return is_plain(object, 0, &nodes);
}

/* pickle.dumps or pickle.loads, kept in *place from the first use on. NULL with an exception set. */
static PyObject *pickle_function(PyObject **place, const char *name)
{
    if (*place == NULL) {
        PyObject *module = PyImport_ImportModule("_pickle");
        *place = module == NULL ? NULL : PyObject_GetAttrString(module, name);
        Py_XDECREF(module);
    }
    return *place;
}

PyObject *py_dumps_plain(PyObject **place, PyObject *object)
{
    PyObject *dumps = pickle_function(place, "dumps");
    return dumps == NULL ? NULL : PyObject_CallFunctionObjArgs(dumps, object, NULL);
}

PyObject *py_loads(PyObject **place, PyObject *data)
{
    PyObject *loads = data == NULL ? NULL : pickle_function(place, "loads");
    PyObject *result = loads == NULL ? NULL : PyObject_CallFunctionObjArgs(loads, data, NULL);
    Py_XDECREF(data);
    return result;
}

PyObject *py_dumps_if_plain(PyObject *module, PyObject *object)
{
    (void)module;
    if (!py_is_plain(object)) {
        Py_RETURN_NONE;
    }
    PyObject *dumps = NULL;
    PyObject *data = py_dumps_plain(&dumps, object);
    Py_XDECREF(dumps);
    return data;
}
