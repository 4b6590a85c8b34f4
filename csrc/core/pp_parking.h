/* A worker that waits for its first task in C.
 *
 * A child by fork pays for what it touches: each page that it writes is copied first, and the interpreter's own steps after
 * a fork write some 200. A worker whose pool is closed before it had a task, or that is one too many for what there is to
 * do, need not pay: it waits here, has let go of what is its client's, and ends here if that is what it is told.
 *
 *     park: hang on to the client -- let go of its descriptors -- wait
 *       a task                 -> return; the interpreter hears of its birth
 *       its queue is shut down -> note an exit code of 0, _exit(0)
 *       the client is gone     -> SIGKILL, by what it hangs on to
 *       a signal               -> what its action is: those that Python handles are not for it, see below
 *
 * What the interpreter has registered for signals must not run before it knows of its birth. So who parks says which
 * signals are ignored, and does not park where a program handles others.
 *
 * What a dead one leaves behind: nothing of this is shared but the queue, of which it takes nothing. Killed after it was told to end and
 * before the code is noted: the kernel tells of a kill.
 */
#ifndef PP_PARKING_H
#define PP_PARKING_H

#include <signal.h>

#include "core/pp_queue.h"

/* What a worker waits for, and by what its end is known. */
struct pp_worker {
    struct pp_queue *tasks;
    int box; /* a descriptor: where its exit code is noted */
};

/* What all have in common. */
struct pp_parking {
    int hang_on;          /* the read end of a pipe that ends with the client */
    int hang_on_writer;   /* its other end, to be closed; -1 for none */
    int others[2];        /* to be closed, too; -1 for none */
    int null;             /* what standard input becomes, -1: it stays */
    sigset_t ignored;     /* by Python's handlers they would be */
    sigset_t mask;        /* what is blocked meanwhile */
};

/* The number of bytes that are noted, at 0, of a life that returned None and ended in order: as black_box.py has it. */
#define PP_RETURNED_NONE 24

/* Park. Returns when there is a task, or what cannot be told from one: what pp_hang_on has returned, which is to stay open, or
 * -1 where there is no such thing, and at once. All signals are blocked before and after it. */
int pp_park_worker(const struct pp_parking *parking, const struct pp_worker *worker);

#endif
