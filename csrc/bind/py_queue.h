/* Queue: a handle to a queue of the core. */
#ifndef PY_QUEUE_H
#define PY_QUEUE_H

#include "bind/py_cell.h"
#include "core/pp_queue.h"

typedef struct {
    PyCell base; /* its chunk is NULL until there is a queue */
    struct pp_queue queue;
    int closed;      /* PY_QUEUE_ */
    uint32_t births; /* the process that closed it, or put: pp_registry_births */
    int has_put;
    PyObject *dumps, *loads;
} PyQueue;

/* Whether it is closed: not; to be told by ValueError, until the process forks; by OSError, for good. */
enum { PY_QUEUE_OPEN = 0, PY_QUEUE_CLOSED, PY_QUEUE_CLOSED_FOR_GOOD };

extern PyType_Spec py_queue_spec, py_mapping_spec;

#endif
