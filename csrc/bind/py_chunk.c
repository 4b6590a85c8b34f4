/* How shared objects travel: the descriptors of their memory, and mapping memory that came along. */
#include "bind/py_types.h"

#include <errno.h>

PyObject *py_attach(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    (void)module;
    if (count != 2) {
        PyErr_SetString(PyExc_TypeError, "attach() takes two descriptors");
        return NULL;
    }
    long fd = PyLong_AsLong(args[0]);
    long registry_fd = PyLong_AsLong(args[1]);
    if (PyErr_Occurred()) {
        return NULL;
    }
    struct pp_chunk *chunk = pp_chunk_attach((int)fd, (int)registry_fd);
    if (chunk == NULL) {
        if (errno == EINVAL) {
            PyErr_SetString(PyExc_ValueError, "this is no memory of shared objects");
            return NULL;
        }
        return PyErr_SetFromErrno(PyExc_OSError);
    }
    /* The handle that was counted belongs to the caller's object, whose end is detach(). */
    return PyBytes_FromStringAndSize((char *)chunk->id, PP_ID_SIZE);
}

static struct pp_chunk *chunk_of(PyObject *id)
{
    char *bytes;
    Py_ssize_t length;
    if (PyBytes_AsStringAndSize(id, &bytes, &length) < 0) {
        return NULL;
    }
    struct pp_chunk *chunk = length == PP_ID_SIZE ? pp_chunk_find((unsigned char *)bytes) : NULL;
    if (chunk == NULL) {
        PyErr_SetString(PyExc_KeyError, "this process does not have this memory");
    }
    return chunk;
}

PyObject *py_detach(PyObject *module, PyObject *id)
{
    (void)module;
    struct pp_chunk *chunk = chunk_of(id);
    if (chunk == NULL) {
        return NULL;
    }
    pp_chunk_drop(chunk); /* of this call */
    pp_chunk_drop(chunk); /* of attach or hold */
    Py_RETURN_NONE;
}

PyObject *py_hold(PyObject *module, PyObject *id)
{
    (void)module;
    struct pp_chunk *chunk = chunk_of(id);
    if (chunk == NULL) {
        return NULL;
    }
    int fd = pp_chunk_fd(chunk), registry_fd = fd < 0 ? -1 : pp_registry_fd(chunk->registry);
    if (registry_fd < 0) {
        pp_chunk_drop(chunk);
        PyErr_SetFromErrno(PyExc_OSError);
        return NULL;
    }
    return Py_BuildValue("ii", fd, registry_fd);
}

PyObject *py_leave(PyObject *module, PyObject *ignored)
{
    (void)module;
    (void)ignored;
    pp_chunk_hand_over();
    Py_RETURN_NONE;
}
