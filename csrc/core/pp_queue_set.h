/* Several queues with one consumer, each with one producer process, and a waker, a queue that the consumer has and sleeps on.
 *
 *     producer 1 -- queue 1 --+
 *     producer 2 -- queue 2 --+--> the consumer sleeps on the waker's word, which whoever puts changes
 *     the consumer's process -- waker --+
 *
 * No lock is shared by two producers: one that is stopped, by SIGSTOP, a debugger or the freezer, with its queue's lock
 * in its hands holds up itself. Queues are heard in turns. What was put into the waker is heard behind all that was in the
 * queues by then, and behind no more: so that neither a note overtakes what it is about, nor a busy queue a note. For that
 * the ends of all are marked when there is something in the waker.
 *
 * Nothing here is stored in shared memory but by the queues. Only one thread at a time may hear a set.
 *
 * A queue may be lent to another thread of the consumer's process, which waits for its next record itself: the set passes
 * it by, and its producer wakes by its own word. What it holds when it is no longer lent may have woken nobody: whoever
 * ends that looks.
 *
 *     producer: put -- is it lent? -- wake         who lent it: it is not lent -- is there something? -- tell the set
 */
#ifndef PP_QUEUE_SET_H
#define PP_QUEUE_SET_H

#include "core/pp_queue.h"

struct pp_queue_set {
    struct pp_queue *waker;
    struct pp_queue **queues;
    uint32_t count;
    uint32_t turn; /* which queue is looked at first */
};

struct pp_set_wait {
    struct pp_wait wait; /* first */
    struct pp_queue_set *set;
};

/* Which queue has the record that is to be taken next: its place, `count` for the waker, -1 for none. */
int64_t pp_queue_set_next(struct pp_queue_set *set);

/* Whether one has a record. */
int pp_queue_set_has_items(struct pp_queue_set *set);

/* Wait until one has. PP_DONE, PP_AGAIN: call again, after signals were handled; PP_TIMED_OUT. */
enum pp_answer pp_queue_set_await(struct pp_set_wait *wait);

/* Lend a queue of a set; end that, wake who waits for it if another does, and return whether there is something. */
uint32_t pp_queue_lend(struct pp_queue *queue);
int pp_queue_call_in(struct pp_queue *queue, int wakes);

/* Wait for a record of a queue that is lent the `time`th time. PP_DONE; PP_ENDED: it was called in, and may have been lent
 * to another since; PP_AGAIN; PP_TIMED_OUT. */
struct pp_lent_wait {
    struct pp_wait wait; /* first: a step gets its address */
    uint32_t time;
};
enum pp_answer pp_queue_await_lent(struct pp_queue *queue, struct pp_lent_wait *wait);

#endif
