/* Binding of core/pp_clone: no algorithm here. */
#include "bind/py_clone.h"

#include <errno.h>
#include <signal.h>
#include <unistd.h>

#include "core/pp_clone.h"
#include "core/pp_facts.h"

PyObject *py_clone_ready(PyObject *module, PyObject *ignored)
{
    (void)module;
    (void)ignored;
    return PyLong_FromLong(pp_clone_ready());
}

/* The same steps around the system call as os.fork() takes: PyOS_BeforeFork takes the import lock and runs the
 * before handlers, the After functions undo it and tell the interpreter of its new pid. */
PyObject *py_clone_sibling(PyObject *module, PyObject *ignored)
{
    (void)module;
    (void)ignored;
    int ready = pp_clone_ready();
    if (ready != 0) {
        errno = ready;
        return PyErr_SetFromErrno(PyExc_OSError);
    }
    int pidfd = -1;
    PyOS_BeforeFork();
    pid_t pid = pp_clone_sibling(&pidfd);
    int error = errno;
    if (pid == 0) {
        pp_facts_reborn(); /* fork handlers of the C library do not run after a raw clone */
        PyOS_AfterFork_Child();
        return Py_BuildValue("ii", 0, -1);
    }
    PyOS_AfterFork_Parent();
    if (pid < 0) {
        errno = error;
        return PyErr_SetFromErrno(PyExc_OSError);
    }
    return Py_BuildValue("ii", (int)pid, pidfd);
}

/* As os.fork(); only that the interpreter of the child hears of its birth when there is something to do. */
PyObject *py_fork_parked(PyObject *module, PyObject *number)
{
    (void)module;
    long fd = PyLong_AsLong(number);
    if (fd == -1 && PyErr_Occurred()) {
        return NULL;
    }
    sigset_t all, before;
    sigfillset(&all);
    PyOS_BeforeFork();
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pid_t client = getpid(), pid = fork();
    int error = errno;
    if (pid == 0) {
        pp_park((int)fd, client);
        PyOS_AfterFork_Child();
        pthread_sigmask(SIG_SETMASK, &before, NULL);
        return PyLong_FromLong(0);
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    PyOS_AfterFork_Parent();
    if (pid < 0) {
        errno = error;
        return PyErr_SetFromErrno(PyExc_OSError);
    }
    return PyLong_FromLong((long)pid);
}
