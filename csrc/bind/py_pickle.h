/* Which objects need nothing but pickle itself to travel. */
#ifndef PY_PICKLE_H
#define PY_PICKLE_H

#include "bind/py_cell.h"

/* Whether an object is built of numbers, text, bytes and None in tuples, lists and dicts, and is small: then no reducer,
 * reference or by-value pickling comes into it, and pickle.dumps gives what the whole machinery would. */
int py_is_plain(PyObject *object);

/* The bytes of a plain object; NULL with an exception set. pickle's function is kept in *place from the first use on. */
PyObject *py_dumps_plain(PyObject **place, PyObject *object);

/* dumps_plain(obj) -> bytes, or None if it is not plain. */
PyObject *py_dumps_if_plain(PyObject *module, PyObject *object);

/* The object of bytes, with the reference to them stolen. */
PyObject *py_loads(PyObject **place, PyObject *data);

#endif
