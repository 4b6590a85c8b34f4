#include "bind/py_greenlets.h"

#include <errno.h>

#include "core/pp_frame.h"
#include "core/pp_futex.h"

/* Of this process, and true of its forked children: how many modules there were, and whether one is such a library. */
static pp_word seen_size, is_loaded;

int py_greenlets(void)
{
    PyObject *modules = PyImport_GetModuleDict();
    uint32_t size = modules == NULL ? 0 : (uint32_t)PyDict_Size(modules);
    if (size != pp_load(&seen_size)) {
        int found = PyDict_GetItemString(modules, "gevent.monkey") != NULL
                    || PyDict_GetItemString(modules, "eventlet.patcher") != NULL;
        pp_store_own(&is_loaded, (uint32_t)found);
        pp_store_own(&seen_size, size);
    }
    return (int)pp_load(&is_loaded);
}

int py_let_run(int turns, int64_t deadline)
{
    double left = -1.0;
    if (deadline != PP_FOREVER) {
        int64_t rest = deadline - pp_now();
        left = rest <= 0 ? 0.0 : (double)rest / 1e9;
    }
    PyObject *module = PyImport_ImportModule("polyproc._platform.handles");
    PyObject *result = module == NULL ? NULL : PyObject_CallMethod(module, "let_run", "id", turns, left);
    Py_XDECREF(module);
    int ran = result == NULL ? -1 : result == Py_True;
    Py_XDECREF(result);
    return ran;
}

int py_greenlets_await_fd(int fd, int to_write, int64_t deadline)
{
    for (int turns = 0;; turns++) {
        int error = pp_await_fd(fd, to_write, 0);
        if (error != ETIMEDOUT) {
            return error;
        }
        if (deadline != PP_FOREVER && pp_now() >= deadline) {
            return ETIMEDOUT;
        }
        int ran = py_let_run(turns, deadline);
        if (ran <= 0) {
            return ran < 0 ? -1 : ENOSYS;
        }
    }
}
