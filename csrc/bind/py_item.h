#ifndef PY_ITEM_H
#define PY_ITEM_H

#include "bind/py_cell.h"

/* Bytes of an item of a type code, as ctypes and array know them; 0 for no code. */
size_t py_item_width(char code);

/* The object of an item; NULL with an exception. */
PyObject *py_item_get(const char *place, char code);

/* Make an item of an object; what is too large for it is cut. 0, or -1 with an exception. May run Python code. */
int py_item_set(char *place, char code, PyObject *item);

#endif
