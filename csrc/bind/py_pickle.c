#include "bind/py_pickle.h"

#define DEPTH 8
#define NODES 512 /* what came of a batch of 64 calls is as plain as they are */

static int is_plain(PyObject *object, int depth, int *nodes);

/* Without the GIL another thread may change them meanwhile: then what was looked at is ours until we have looked at it, and
 * the pickler, which looks again, says what it cannot do. */
#if defined(Py_GIL_DISABLED)
#define HELD(object) Py_NewRef(object)
#define LET_GO(object) Py_DECREF(object)
#define LIST_ITEM(list, place) PyList_GetItemRef(list, place)
#else
#define HELD(object) (object)
#define LET_GO(object) (void)(object)
#define LIST_ITEM(list, place) PyList_GetItem(list, place)
#endif

static int is_plain_list(PyObject *list, int depth, int *nodes)
{
    int is_so = 1;
    for (Py_ssize_t i = 0; is_so && i < PyList_Size(list); i++) {
        PyObject *item = LIST_ITEM(list, i);
        if (item == NULL) {
            PyErr_Clear(); /* it has become shorter */
            return 0;
        }
        is_so = is_plain(item, depth + 1, nodes);
        LET_GO(item);
    }
    return is_so;
}

static int is_plain_dict(PyObject *dict, int depth, int *nodes)
{
    Py_ssize_t place = 0;
    PyObject *key, *value;
    int is_so = 1;
    while (is_so && PyDict_Next(dict, &place, &key, &value)) {
        PyObject *our_key = HELD(key), *our_value = HELD(value);
        is_so = is_plain(our_key, depth + 1, nodes) && is_plain(our_value, depth + 1, nodes);
        LET_GO(our_key);
        LET_GO(our_value);
    }
    return is_so;
}

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
        return is_plain_list(object, depth, nodes);
    }
    if (PyDict_CheckExact(object)) {
        int is_so;
        PY_ALONE(object, is_so = is_plain_dict(object, depth, nodes));
        return is_so;
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
    PyObject *function = py_first(place);
    if (function == NULL) {
        PyObject *module = PyImport_ImportModule("_pickle");
        PyObject *made = module == NULL ? NULL : PyObject_GetAttrString(module, name);
        Py_XDECREF(module);
        function = py_keep_first(place, made);
    }
    return function;
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
