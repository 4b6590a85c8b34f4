/* Named segments: SharedMemory; Segment, the memory of one as a buffer; Lines, what the tracker is told. */
#ifndef PY_SHARED_MEMORY_H
#define PY_SHARED_MEMORY_H

#include "bind/py_api.h"

#include "core/pp_named.h"

extern PyType_Spec py_lines_spec, py_segment_spec, py_shared_memory_spec;

typedef struct {
    PyObject_HEAD
    PyObject *name;    /* with its slash, or None */
    char *bytes;       /* until there is a segment */
    PyObject *segment; /* has the bytes, then */
    PyObject *view;
    Py_ssize_t size;
    int fd;
    char track;
} SharedMemoryObject;

/* py_named.c: making and opening one. All return 0, or -1 with an exception set. */

/* Under a name at random; under its name, which is to be free; open the one of its name. */
int py_named_create_somewhere(SharedMemoryObject *self);
int py_named_create(SharedMemoryObject *self);
int py_named_attach(SharedMemoryObject *self);

/* Remove its name. */
int py_named_unlink(SharedMemoryObject *self);

/* Give it another name, a new reference; NULL is an exception that is set. */
int py_named_own(SharedMemoryObject *self, PyObject *name);

/* Close and unmap what is not a Segment's. */
void py_named_let_go(SharedMemoryObject *self);

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

/* A name at random is the prefix, the mark of the tracker that removes the segment, and some digits. */
#define PY_PREFIX "/psm_"
#define PY_MARK 12u

/* A name at random with a mark, "" for none; its digits are made of a time of pp_now. */
PyObject *py_marked_name(const char *mark, int64_t now);

/* What the names of segments begin with that a tracker removes unasked; PY_MARK + 1 bytes. 1, or 0 if it has to be told of
 * each, or -1 with an exception: it cannot be started. */
int py_lines_mark(PyObject *tracker, int64_t now, char *mark);

/* Whether a program has put something in place of a method of it. */
int py_lines_are_replaced(PyObject *tracker);

/* Whether it removes that one unasked. */
int py_lines_cover(PyObject *tracker, PyObject *name);

#endif
