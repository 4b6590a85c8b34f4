/* polyproc._core: method table and slots, nothing else. Documented in src/polyproc/_core.pyi. */
#include "bind/py_clone.h"
#include "bind/py_connection.h"
#include "bind/py_pickle.h"
#include "bind/py_process.h"
#include "bind/py_queue.h"
#include "bind/py_shared_memory.h"
#include "bind/py_special.h"
#include "bind/py_types.h"

#define FAST(function) (PyCFunction)(void (*)(void))function

static PyMethodDef methods[] = {
    {"clone_ready", py_clone_ready, METH_NOARGS, "clone_ready() -> int: 0, or why clone_sibling cannot be used"},
    {"clone_sibling", py_clone_sibling, METH_NOARGS, "clone_sibling() -> (pid, pidfd): fork a child of our parent"},
    {"hang_on", py_hang_on, METH_O, "hang_on(fd) -> descriptor: be killed when a pipe's writers are gone"},
    {"let_go", py_let_go, METH_O, "let_go(descriptor): in a copy, close what the process before it hangs on by"},
    {"fork_parked", py_fork_parked, METH_VARARGS,
     "fork_parked(fd, children, comm, parking): fork a copy that makes them and waits"},
    {"team_pids", py_team_pids, METH_VARARGS, "team_pids(team, copy): wait until the children are made"},
    {"set_flag", FAST(py_set_flag), METH_FASTCALL, "set_flag(index, value): change sys.flags"},
    {"set_name", py_set_name, METH_O, "set_name(name): set this process's name, as ps shows it"},
    {"refused_calls", py_refused_calls, METH_NOARGS, "refused_calls() -> dict: errno by system call"},
    {"dumps_plain", py_dumps_if_plain, METH_O, "dumps_plain(obj) -> bytes, or None if it is not plain"},
    {"attach", FAST(py_attach), METH_FASTCALL, "attach(fd, registry_fd) -> id: map memory"},
    {"hold", py_hold, METH_O, "hold(id) -> (fd, registry_fd)"},
    {"detach", py_detach, METH_O, "detach(id): let go of what attach or hold has counted"},
    {"direct", py_direct, METH_O, "direct(cls) -> cls: give a class the methods of its C class as its own"},
    {"segment_name", py_segment_name, METH_NOARGS, "segment_name() -> str: a name that is hardly taken"},
    {"batch_begin", FAST(py_batch_begin), METH_FASTCALL, "batch_begin(buffer, place): come to a batch"},
    {"batch_claim", py_batch_claim, METH_O, "batch_claim(buffer) -> bool: take the next chunk, unless that is over"},
    {"batch_close", FAST(py_batch_close), METH_FASTCALL, "batch_close(buffer, place) -> int: chunks begun, -1 elsewhere"},
    {"check_waits", py_check_waits, METH_O, "check_waits(function or None): call it while this thread waits"},
    {"await_soon", FAST(py_await_soon), METH_FASTCALL, "await_soon(fd, learnt) -> bool: wait for what can be read"},
    {"leave", py_leave, METH_NOARGS, "leave(): this process comes to an orderly end"},
#ifdef PP_CRASHPOINTS
    {"crash_at", py_crash_at, METH_O, "crash_at(name): end, or stop, this process when it comes to that point"},
#endif
    {NULL, NULL, 0, NULL},
};

static PyType_Spec *const types[] = {
    &py_lock_spec, &py_rlock_spec, &py_semaphore_spec, &py_event_spec, &py_condition_spec, &py_barrier_spec,
    &py_memory_spec, &py_scalar_spec, &py_array_spec, &py_queue_spec, &py_queue_set_spec, &py_slot_spec, &py_connection_spec,
    &py_special_spec, &py_bound_spec, &py_latch_spec, &py_lines_spec, &py_segment_spec, &py_shared_memory_spec,
};

#define DOC "The C core of polyproc."

/* Whether what objects begin with is no longer than we leave room for. */
static int py_head_fits(void)
{
    PyObject *size = PyObject_GetAttrString((PyObject *)&PyBaseObject_Type, "__basicsize__");
    Py_ssize_t head = size == NULL ? -1 : PyLong_AsSsize_t(size);
    Py_XDECREF(size);
    if (head > (Py_ssize_t)PY_HEAD_ROOM) {
        PyErr_Format(PyExc_ImportError, "an object of this Python begins with %zd bytes, and polyproc._core knows of %zd", head,
                     (Py_ssize_t)PY_HEAD_ROOM);
    }
    return head >= 0 && head <= (Py_ssize_t)PY_HEAD_ROOM;
}

static int module_exec(PyObject *module)
{
    if (!py_head_fits()) {
        return -1;
    }
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        PyObject *type = PyType_FromModuleAndSpec(module, types[i], NULL);
        if (type == NULL || PyModule_AddType(module, (PyTypeObject *)type) < 0) {
            Py_XDECREF(type);
            return -1;
        }
        Py_DECREF(type);
    }
#ifdef PP_CRASHPOINTS
    return PyModule_AddIntConstant(module, "CRASHPOINTS", 1);
#else
    return PyModule_AddIntConstant(module, "CRASHPOINTS", 0);
#endif
}

#ifdef Py_TARGET_ABI3T

/* From 3.15 on a module is told by an array alone (PEP 793), since abi3t has no PyModuleDef. */
PyABIInfo_VAR(abi);

static PySlot slots[] = {
    PySlot_STATIC_DATA(Py_mod_abi, &abi),
    PySlot_STATIC_DATA(Py_mod_name, (void *)"polyproc._core"),
    PySlot_STATIC_DATA(Py_mod_doc, (void *)DOC),
    PySlot_STATIC_DATA(Py_mod_methods, methods),
    PySlot_FUNC(Py_mod_exec, module_exec),
    PySlot_DATA(Py_mod_multiple_interpreters, Py_MOD_PER_INTERPRETER_GIL_SUPPORTED),
    PySlot_DATA(Py_mod_gil, Py_MOD_GIL_NOT_USED),
    PySlot_END,
};

PyMODEXPORT_FUNC PyModExport__core(void);

PyMODEXPORT_FUNC PyModExport__core(void) { return slots; }

#else

/* What an older interpreter does not know makes the import fail, so each gets what it knows: Py_mod_multiple_interpreters is 3
 * (3.12), Py_mod_gil is 4 (3.13). */
#define EXEC {Py_mod_exec, (void *)module_exec}
#define INTERPRETERS {3, (void *)2} /* Py_MOD_PER_INTERPRETER_GIL_SUPPORTED */
#define NO_GIL {4, (void *)1}       /* Py_MOD_GIL_NOT_USED */

static PyModuleDef_Slot slots_3_11[] = {EXEC, {0, NULL}};
static PyModuleDef_Slot slots_3_12[] = {EXEC, INTERPRETERS, {0, NULL}};
static PyModuleDef_Slot slots_3_13[] = {EXEC, INTERPRETERS, NO_GIL, {0, NULL}};

#define DEFINITION(slots) {PyModuleDef_HEAD_INIT, "polyproc._core", DOC, 0, methods, slots, NULL, NULL, NULL}

static struct PyModuleDef definition_3_11 = DEFINITION(slots_3_11);
static struct PyModuleDef definition_3_12 = DEFINITION(slots_3_12);
static struct PyModuleDef definition_3_13 = DEFINITION(slots_3_13);

PyMODINIT_FUNC PyInit__core(void)
{
    return PyModuleDef_Init(Py_Version >= 0x030d0000   ? &definition_3_13
                            : Py_Version >= 0x030c0000 ? &definition_3_12
                                                       : &definition_3_11);
}

#endif
