/* Queue: a handle to a queue of the core. */
#ifndef PY_QUEUE_H
#define PY_QUEUE_H

#include "bind/py_cell.h"
#include "core/pp_queue.h"

typedef struct {
    CellObject base; /* its chunk is NULL until there is a queue */
    struct pp_queue queue;
    pp_word is_begun; /* one thread initializes it */
    pp_word64 closing; /* the process that closed it (pp_birth) << 32 | PY_QUEUE_ */
    pp_word has_put;
    PyObject *dumps, *loads, *slot_type;
    PyObject *kept;       /* a list: what was taken for a call that raised, and is got next */
    uint32_t kept_births; /* by which process */
    struct py_taken *taken; /* records that were taken, and for which there was no memory then: got next, before those */
    PyObject *waker;       /* the queue whose consumer is woken in place of its own */
} QueueObject;

/* A record that this process has taken, with its bytes; of a large one the slot is ours. */
struct py_taken {
    struct py_taken *next;
    uint32_t births; /* by which process */
    struct pp_record record;
    char bytes[];
};

/* Whether it is closed: not; to be told by ValueError, until the process forks; by OSError, for good. */
enum { PY_QUEUE_OPEN = 0, PY_QUEUE_CLOSED, PY_QUEUE_CLOSED_FOR_GOOD };

/* Whether it was initialized. */
static inline int py_queue_is_there(QueueObject *self) { return __atomic_load_n(&self->base.chunk, __ATOMIC_ACQUIRE) != NULL; }

/* Whether it was initialized and is open; 0 with an exception set. */
int py_queue_usable(QueueObject *self);

/* Raise what an answer means, `timed_out` of the module `queue` for a time that ran out; returns NULL. */
PyObject *py_queue_refuse(enum pp_answer answer, const char *timed_out);

int py_queue_is_closed(QueueObject *self);

/* Of a joinable queue, one more is done. PP_DONE, PP_ENDED: there is none left; PP_FAILED. */
enum pp_answer py_queue_one_done(QueueObject *self);

void py_queue_dealloc(PyObject *self);

/* Whether an object is a queue, of whatever class; 0 with an exception set. */
int py_is_queue(PyObject *object);

/* A record that is at hand, copied; NULL without memory. Put it back, to be got next; take the next one, NULL for none;
 * whether one was ever put back in this process; whether there may be one. */
struct py_taken *py_taken_copy(const struct pp_record *record);
void py_taken_put_back(QueueObject *self, struct py_taken *taken);
struct py_taken *py_taken_next(QueueObject *self);
int py_taken_ever(void);
int py_taken_is_there(QueueObject *self);
void py_taken_free(QueueObject *self);

/* Take the oldest record: (tag, kind, data, slot). */
PyObject *py_queue_get_oldest(QueueObject *self, int64_t deadline);

/* Methods of a queue for large messages. */
PyObject *py_slot_reserve(PyObject *self, PyObject *size);
PyObject *py_slot_make(PyObject *self, PyObject *size);
PyObject *py_slot_memory(PyObject *self, PyObject *ignored);

/* A Slot that holds nothing yet; have it own one. */
PyObject *py_slot_new(QueueObject *queue);
void py_slot_own(PyObject *slot, int64_t number);

/* Which one a Slot of this queue holds, or the number that an int is; -1 for none. When it is put, it is the record's. */
int64_t py_slot_of(QueueObject *queue, PyObject *object);
void py_slot_gone(PyObject *object);

/* The bytes that a record tells of; the slot is given back, whatever happens. */
PyObject *py_slot_open_bytes(PyObject *slot, PyObject *record);

/* What was taken for a call that raised: how many; the first of them, NULL without an exception for none; and keep more. */
Py_ssize_t py_queue_kept(QueueObject *self);
PyObject *py_queue_get_kept(QueueObject *self);
PyObject *py_queue_keep(PyObject *self, PyObject *items);

/* The methods of py_queue_items.c, py_queue_end.c and py_queue_set.c. */
PyObject *py_queue_size(PyObject *self, PyObject *argument);
PyObject *py_queue_full(PyObject *self, PyObject *argument);
PyObject *py_queue_poll_on(PyObject *self, PyObject *argument);
PyObject *py_queue_end(PyObject *self, PyObject *argument);
PyObject *py_queue_task_done(PyObject *self, PyObject *argument);
PyObject *py_queue_join(PyObject *self, PyObject *argument);
PyObject *py_queue_unfinished(PyObject *self, PyObject *argument);
PyObject *py_queue_empty(PyObject *self, PyObject *argument);
PyObject *py_queue_await(PyObject *self, PyObject *argument);
PyObject *py_queue_close(PyObject *self, PyObject *argument);
PyObject *py_queue_lend(PyObject *self, PyObject *argument);
PyObject *py_queue_call_in(PyObject *self, PyObject *argument);
PyObject *py_queue_await_lent(PyObject *self, PyObject *argument);
PyObject *py_queue_get_closed(PyObject *self, void *ignored);

extern PyType_Spec py_queue_spec, py_queue_set_spec, py_slot_spec;

#endif
