/* Named segments: SharedMemory; Segment, the memory of one as a buffer; Lines, what the tracker is told. */
#ifndef PY_SHARED_MEMORY_H
#define PY_SHARED_MEMORY_H

#ifndef Py_LIMITED_API
#define Py_LIMITED_API 0x030b0000
#endif
#define PY_SSIZE_T_CLEAN
#include <Python.h>

extern PyType_Spec py_lines_spec, py_segment_spec, py_shared_memory_spec;

/* Make a Segment of a mapping, which is its own from now on. */
PyObject *py_segment_make(PyTypeObject *type, char *bytes, size_t size);

/* close(): unmap it; BufferError while there are views. */
PyObject *py_segment_close(PyObject *self, PyObject *ignored);

/* Unmap what may be NULL; without the GIL where that takes a while. */
void py_unmap(char *bytes, size_t size);

/* What needs the GIL given back: bytes of memory that take longer than that. */
#define PY_LONG_TIME ((size_t)1 << 16)

/* segment_name() -> str: a name that is hardly taken. */
PyObject *py_segment_name(PyObject *module, PyObject *ignored);

#endif
