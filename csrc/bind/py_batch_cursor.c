/* batch_begin, batch_claim and batch_close: core/pp_batch_cursor.h, on the first word of a buffer. */
#include "bind/py_process.h"

#include "core/pp_batch_cursor.h"

/* The word, or NULL with an exception. The caller keeps `view` until it is done. */
static pp_word *word_of(PyObject *buffer, Py_buffer *view)
{
    if (PyObject_GetBuffer(buffer, view, PyBUF_WRITABLE) < 0) {
        return NULL;
    }
    if (view->len < (Py_ssize_t)sizeof(pp_word) || (uintptr_t)view->buf % sizeof(pp_word) != 0) {
        PyBuffer_Release(view);
        PyErr_SetString(PyExc_ValueError, "a turn needs an aligned word");
        return NULL;
    }
    return (pp_word *)view->buf;
}

/* (buffer, place) of the two functions that have both. */
static pp_word *arguments(PyObject *const *args, Py_ssize_t count, Py_buffer *view, uint16_t *place)
{
    if (count != 2) {
        PyErr_SetString(PyExc_TypeError, "a buffer and a place are needed");
        return NULL;
    }
    long number = PyLong_AsLong(args[1]);
    if (number == -1 && PyErr_Occurred()) {
        return NULL;
    }
    if (number < 0 || number > UINT16_MAX) {
        PyErr_SetString(PyExc_ValueError, "a place is a number from 0 to 65535");
        return NULL;
    }
    *place = (uint16_t)number;
    return word_of(args[0], view);
}

PyObject *py_batch_begin(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    (void)module;
    Py_buffer view;
    uint16_t place;
    pp_word *turn = arguments(args, count, &view, &place);
    if (turn == NULL) {
        return NULL;
    }
    pp_batch_begin(turn, place);
    PyBuffer_Release(&view);
    Py_RETURN_NONE;
}

PyObject *py_batch_claim(PyObject *module, PyObject *buffer)
{
    (void)module;
    Py_buffer view;
    pp_word *turn = word_of(buffer, &view);
    if (turn == NULL) {
        return NULL;
    }
    int taken = pp_batch_claim(turn);
    PyBuffer_Release(&view);
    return PyBool_FromLong(taken);
}

PyObject *py_batch_close(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    (void)module;
    Py_buffer view;
    uint16_t place;
    pp_word *turn = arguments(args, count, &view, &place);
    if (turn == NULL) {
        return NULL;
    }
    int begun = pp_batch_close(turn, place);
    PyBuffer_Release(&view);
    return PyLong_FromLong(begun);
}
