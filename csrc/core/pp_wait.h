/* Waits, whatever they are for: in steps of one sleep at the most, so that whoever calls can handle signals in between. */
#ifndef PP_WAIT_H
#define PP_WAIT_H

#include <stddef.h>

#include "core/pp_futex.h"
#include "core/pp_spin.h"

/* Answers of the functions that wait. The caller handles signals between two calls, and calls again. */
enum pp_answer { PP_AGAIN = 0, PP_DONE, PP_RECOVERED, PP_TIMED_OUT, PP_FAILED, PP_ENDED };

#define PP_FIRST_TICK 20000000   /* 20 ms */
#define PP_LAST_TICK 1000000000  /* 1 s */
#define PP_FIRST_DOUBT 500000    /* 0.5 ms */
#define PP_MAX_SPINS 2000
#define PP_DEATH_TICK 40000000   /* 40 ms: where nothing but the tick tells of a death */
#define PP_MAX_ROUNDS 100       /* in one step, while others, or whoever writes over the word, are faster */

/* A wait: what the caller keeps between two calls. */
struct pp_wait {
    int64_t deadline; /* of pp_now, PP_FOREVER for none */
    int64_t tick;     /* how long the next sleep may be */
    int64_t doubt;    /* how long it may be while an owner seems to be dying */
    struct pp_spin *spin; /* whether to spin first, learnt by the handle; NULL for never */
    int slept;
    int64_t guard; /* how long a queue's lock may be waited for, beyond the deadline; 0: not yet */
    int polls;     /* its sleeps end at once: whoever waits lets others run in between (bind/py_greenlets.h) */
    uint32_t seen; /* what a condition, an event or a barrier waits to see changed */
};

void pp_wait_start(struct pp_wait *wait, int64_t deadline, struct pp_spin *spin);

/* The end of the next sleep; the tick after it is twice as long. */
int64_t pp_wait_until(struct pp_wait *wait);

#endif
