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

PyObject *py_hang_on(PyObject *module, PyObject *number)
{
    (void)module;
    long fd = PyLong_AsLong(number);
    if (fd == -1 && PyErr_Occurred()) {
        return NULL;
    }
    int own = pp_hang_on((int)fd);
    return own < 0 ? PyErr_SetFromErrno(PyExc_OSError) : PyLong_FromLong(own);
}

PyObject *py_let_go(PyObject *module, PyObject *number)
{
    (void)module;
    long fd = PyLong_AsLong(number);
    if (fd == -1 && PyErr_Occurred()) {
        return NULL;
    }
    pp_let_go((int)fd);
    Py_RETURN_NONE;
}

#define LIMIT 5000000000 /* nanoseconds without a word of a copy: it was stopped, or the machine is at its end */

/* As os.fork(); only that the interpreter of the child hears of its birth when there is something to do. */
PyObject *py_fork_parked(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    (void)module;
    if (count != 3) {
        PyErr_SetString(PyExc_TypeError, "fork_parked() takes a descriptor, a number of children and a name");
        return NULL;
    }
    long fd = PyLong_AsLong(args[0]), children = PyLong_AsLong(args[1]);
    const char *comm = PyUnicode_AsUTF8AndSize(args[2], NULL);
    if (PyErr_Occurred()) {
        return NULL;
    }
    struct pp_team *team = NULL;
    if (children > 0) {
        team = pp_team_new((int)children);
        if (team == NULL) {
            return PyErr_SetFromErrno(PyExc_OSError);
        }
    }
    PyObject *pids = PyTuple_New(children);
    if (pids == NULL) {
        if (team != NULL) {
            pp_team_drop(team);
        }
        return NULL;
    }
    sigset_t all, before;
    sigfillset(&all);
    PyOS_BeforeFork();
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pid_t client = getpid(), pid = fork();
    int error = errno;
    if (pid == 0) {
        int place = team == NULL ? -1 : pp_team_clone(team, comm);
        if (team != NULL) {
            pp_team_drop(team);
        }
        if (place >= 0) {
            pp_facts_reborn(); /* fork handlers of the C library do not run after a raw clone */
        } else {
            pp_park((int)fd, client);
        }
        PyOS_AfterFork_Child();
        pthread_sigmask(SIG_SETMASK, &before, NULL);
        Py_DECREF(pids);
        return Py_BuildValue("i()i", 0, place);
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    PyOS_AfterFork_Parent();
    if (pid > 0 && team != NULL) {
        Py_BEGIN_ALLOW_THREADS
        pp_team_wait(team, pid, LIMIT);
        Py_END_ALLOW_THREADS
        for (int place = 0; place < children; place++) {
            PyObject *told = PyLong_FromLong(pp_team_place(team, place));
            if (told == NULL) {
                told = Py_NewRef(Py_None);
                PyErr_Clear();
            }
            PyTuple_SetItem(pids, place, told);
        }
    }
    if (team != NULL) {
        pp_team_drop(team);
    }
    if (pid < 0) {
        Py_DECREF(pids);
        errno = error;
        return PyErr_SetFromErrno(PyExc_OSError);
    }
    return Py_BuildValue("iNi", (int)pid, pids, -1);
}
