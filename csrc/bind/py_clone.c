/* Binding of core/pp_clone: no algorithm here. */
#include "bind/py_clone.h"

#include <errno.h>
#include <signal.h>
#include <unistd.h>

#include "bind/py_queue.h"
#include "core/pp_clone.h"
#include "core/pp_facts.h"
#include "core/pp_parking.h"

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

/* What fork_parked is asked for. */
struct order {
    int fd;
    int children;
    const char *comm;
    struct pp_parking parking;
    struct pp_worker *workers; /* one for each child; NULL: they do not park */
};

/* Add the signals of a tuple to a set; 0 with an exception set. */
static int add_signals(PyObject *numbers, sigset_t *set)
{
    sigemptyset(set);
    for (Py_ssize_t i = 0; i < PyTuple_Size(numbers); i++) {
        long number = PyLong_AsLong(PyTuple_GetItem(numbers, i));
        if (PyErr_Occurred()) {
            return 0;
        }
        (void)sigaddset(set, (int)number);
    }
    return !PyErr_Occurred();
}

/* The queues and black boxes of the children: 0 with an exception set. */
static int read_workers(PyObject *pairs, struct order *order)
{
    if (PyTuple_Size(pairs) != order->children) {
        PyErr_SetString(PyExc_ValueError, "fork_parked() takes a queue and a box for each child");
        return 0;
    }
    order->workers = PyMem_Calloc((size_t)order->children, sizeof *order->workers);
    if (order->workers == NULL) {
        PyErr_NoMemory();
        return 0;
    }
    for (int i = 0; i < order->children; i++) {
        PyObject *queue;
        if (!PyArg_ParseTuple(PyTuple_GetItem(pairs, i), "Oi", &queue, &order->workers[i].box) || !py_is_queue(queue)) {
            return 0;
        }
        if (!py_queue_usable((QueueObject *)queue)) {
            return 0;
        }
        order->workers[i].tasks = &((QueueObject *)queue)->queue;
    }
    return 1;
}

static int read_order(PyObject *args, struct order *order)
{
    struct pp_parking *parking = &order->parking;
    PyObject *how = Py_None, *pairs, *ignored, *mask;
    if (!PyArg_ParseTuple(args, "iisO:fork_parked", &order->fd, &order->children, &order->comm, &how)) {
        return 0;
    }
    if (how == Py_None || order->children <= 0) {
        return 1;
    }
    return PyArg_ParseTuple(how, "O!iiiiiO!O!", &PyTuple_Type, &pairs, &parking->hang_on, &parking->hang_on_writer,
                            &parking->others[0], &parking->others[1], &parking->null, &PyTuple_Type, &ignored,
                            &PyTuple_Type, &mask)
           && add_signals(ignored, &parking->ignored) && add_signals(mask, &parking->mask) && read_workers(pairs, order);
}

/* In the copy, and in what it clones: returns, in who runs something, its place or -1, and what it hangs on by. */
static int live_on(const struct order *order, struct pp_team *team, pid_t client, int *hangs_on)
{
    int place = team == NULL ? -1 : pp_team_clone(team, order->comm);
    if (place < 0) {
        pp_park(order->fd, client);
        return place;
    }
    pp_facts_reborn(); /* fork handlers of the C library do not run after a raw clone */
    if (order->workers != NULL) {
        *hangs_on = pp_park_worker(&order->parking, &order->workers[place]);
    }
    return place;
}

/* A team, as Python has it. */
#define TEAM "polyproc.team"

static void drop_team(PyObject *capsule) { pp_team_drop(PyCapsule_GetPointer(capsule, TEAM)); }

PyObject *py_team_pids(PyObject *module, PyObject *args)
{
    (void)module;
    PyObject *capsule;
    int copy;
    if (!PyArg_ParseTuple(args, "Oi:team_pids", &capsule, &copy)) {
        return NULL;
    }
    struct pp_team *team = PyCapsule_GetPointer(capsule, TEAM);
    if (team == NULL) {
        return NULL;
    }
    Py_BEGIN_ALLOW_THREADS
    pp_team_wait(team, copy, LIMIT);
    Py_END_ALLOW_THREADS
    int children = pp_team_size(team);
    PyObject *pids = PyTuple_New(children);
    for (int place = 0; pids != NULL && place < children; place++) {
        PyObject *told = PyLong_FromLong(pp_team_place(team, place));
        if (told == NULL) {
            Py_DECREF(pids);
            return NULL;
        }
        PyTuple_SetItem(pids, place, told);
    }
    return pids;
}

static PyObject *fork_in_order(const struct order *order, PyObject *capsule)
{
    struct pp_team *team = capsule == Py_None ? NULL : PyCapsule_GetPointer(capsule, TEAM);
    sigset_t all, before;
    sigfillset(&all);
    PyOS_BeforeFork();
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pid_t client = getpid(), pid = fork();
    int error = errno;
    if (pid == 0) {
        int hangs_on = -1, place = live_on(order, team, client, &hangs_on);
        PyOS_AfterFork_Child();
        pthread_sigmask(SIG_SETMASK, &before, NULL);
        return Py_BuildValue("iOii", 0, Py_None, place, hangs_on);
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    PyOS_AfterFork_Parent();
    if (pid < 0) {
        errno = error;
        return PyErr_SetFromErrno(PyExc_OSError);
    }
    return Py_BuildValue("iOii", (int)pid, capsule, -1, -1);
}

/* A team for so many; None for none. NULL with an exception set. */
static PyObject *new_team(int children)
{
    if (children <= 0) {
        return Py_NewRef(Py_None);
    }
    struct pp_team *team = pp_team_new(children);
    PyObject *capsule = team == NULL ? PyErr_SetFromErrno(PyExc_OSError) : PyCapsule_New(team, TEAM, drop_team);
    if (capsule == NULL && team != NULL) {
        pp_team_drop(team);
    }
    return capsule;
}

/* As os.fork(); only that the interpreter of a child hears of its birth when there is something to do. */
PyObject *py_fork_parked(PyObject *module, PyObject *args)
{
    (void)module;
    struct order order = {0};
    PyObject *team = NULL, *made = NULL;
    if (read_order(args, &order) && (team = new_team(order.children)) != NULL) {
        made = fork_in_order(&order, team);
    }
    Py_XDECREF(team);
    PyMem_Free(order.workers);
    return made;
}
