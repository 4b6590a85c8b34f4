/* Items of typed memory: a number or a character to a Python object, and back. As ctypes does it. */
#include "bind/py_item.h"

#include "bind/py_cell.h"

#include <string.h>
#include <wchar.h>

/* The widths of the type codes that ctypes and array know. 0 for no code. */
size_t py_item_width(char code)
{
    switch (code) {
    case 'c': case 'b': case 'B': case '?': return 1;
    case 'h': case 'H': return sizeof(short);
    case 'i': case 'I': return sizeof(int);
    case 'l': case 'L': return sizeof(long);
    case 'q': case 'Q': return sizeof(long long);
    case 'f': return sizeof(float);
    case 'd': return sizeof(double);
    case 'u': return sizeof(wchar_t);
    default: return 0;
    }
}

PyObject *py_item_get(const char *place, char code)
{
    union {
        signed char b; unsigned char ub; short h; unsigned short uh; int i; unsigned int ui; long l; unsigned long ul;
        long long q; unsigned long long uq; float f; double d; wchar_t u;
    } value;
    memcpy(&value, place, py_item_width(code));
    switch (code) {
    case 'c': return PyBytes_FromStringAndSize(place, 1);
    case '?': return PyBool_FromLong(value.ub != 0);
    case 'b': return PyLong_FromLong(value.b);
    case 'B': return PyLong_FromLong(value.ub);
    case 'h': return PyLong_FromLong(value.h);
    case 'H': return PyLong_FromLong(value.uh);
    case 'i': return PyLong_FromLong(value.i);
    case 'I': return PyLong_FromUnsignedLong(value.ui);
    case 'l': return PyLong_FromLong(value.l);
    case 'L': return PyLong_FromUnsignedLong(value.ul);
    case 'q': return PyLong_FromLongLong(value.q);
    case 'Q': return PyLong_FromUnsignedLongLong(value.uq);
    case 'f': return PyFloat_FromDouble(value.f);
    case 'd': return PyFloat_FromDouble(value.d);
    default: return PyUnicode_FromWideChar(&value.u, 1);
    }
}

/* A TypeError in the words of this version's ctypes: `before` 3.14 they were others. `since` has place for what the item is. */
static int no_character(PyObject *item, const char *before, const char *since)
{
    PyObject *type = PyType_GetName(Py_TYPE(item));
    if (type != NULL) {
        PyErr_Format(PyExc_TypeError, Py_Version < 0x030e0000 ? before : since, type);
        Py_DECREF(type);
    }
    return -1;
}

/* Raise the TypeError for a text or bytes of another length than one; return -1. */
static int not_one(Py_ssize_t length, const char *before, const char *since)
{
    return PyErr_Format(PyExc_TypeError, Py_Version < 0x030e0000 ? before : since, length), -1;
}

#define OLD_WORDS "one character bytes, bytearray or integer expected"
#define NEW_WORDS "one character bytes, bytearray, or an integer in range(256) expected, not "

static int set_character(char *place, PyObject *item)
{
    long number = -1;
    if (PyBytes_Check(item) && PyBytes_Size(item) == 1) {
        *place = PyBytes_AsString(item)[0];
        return 0;
    }
    if (PyByteArray_Check(item) && PyByteArray_Size(item) == 1) {
        *place = PyByteArray_AsString(item)[0];
        return 0;
    }
    if (PyLong_Check(item)) {
        number = PyLong_AsLong(item);
        PyErr_Clear();
    }
    if (number < 0 || number > 255) {
        return PyBytes_Check(item)       ? not_one(PyBytes_Size(item), OLD_WORDS, NEW_WORDS "bytes of length %zd")
               : PyByteArray_Check(item) ? not_one(PyByteArray_Size(item), OLD_WORDS, NEW_WORDS "bytearray of length %zd")
               : PyLong_Check(item)      ? not_one(0, OLD_WORDS, "integer not in range(256)")
                                         : no_character(item, OLD_WORDS, NEW_WORDS "%U");
    }
    *place = (char)number;
    return 0;
}

static int set_wide_character(char *place, PyObject *item)
{
    wchar_t text[2];
    if (!PyUnicode_Check(item)) {
        return no_character(item, "unicode string expected instead of %U instance",
                            "a unicode character expected, not instance of %U");
    }
    if (PyUnicode_GetLength(item) != 1 || PyUnicode_AsWideChar(item, text, 2) != 1) {
        return not_one(PyUnicode_GetLength(item), "one character unicode string expected",
                       "a unicode character expected, not a string of length %zd");
    }
    memcpy(place, text, sizeof text[0]);
    return 0;
}

int py_item_set(char *place, char code, PyObject *item)
{
    if (code == 'c') {
        return set_character(place, item);
    }
    if (code == 'u') {
        return set_wide_character(place, item);
    }
    if (code == 'f' || code == 'd') {
        double value = PyFloat_AsDouble(item);
        float narrow = (float)value;
        if (value == -1.0 && PyErr_Occurred()) {
            py_misuse("not_number", item);
            return -1;
        }
        memcpy(place, code == 'f' ? (void *)&narrow : (void *)&value, py_item_width(code));
        return 0;
    }
    if (code == '?') {
        int truth = PyObject_IsTrue(item);
        *place = (char)(truth > 0);
        return truth < 0 ? -1 : 0;
    }
    /* As ctypes does: what has an __index__ is a number, and what is too large is cut. All systems that we know store the
     * low bytes first or of full width. */
    unsigned long long bits = PyLong_AsUnsignedLongLongMask(item);
    if (bits == (unsigned long long)-1 && PyErr_Occurred()) {
        py_misuse("not_number", item);
        return -1;
    }
    unsigned char b = (unsigned char)bits;
    unsigned short h = (unsigned short)bits;
    unsigned int i = (unsigned int)bits;
    switch (py_item_width(code)) {
    case 1: memcpy(place, &b, 1); break;
    case 2: memcpy(place, &h, 2); break;
    case 4: memcpy(place, &i, 4); break;
    default: memcpy(place, &bits, 8); break;
    }
    return 0;
}
