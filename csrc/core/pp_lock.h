/* Lock and RLock: one word that holds its owner's tag, so that a dead owner's lock can be handed on.
 *
 *        acquire: CAS 0 -> me                      release: exchange with 0; if somebody waits, wake one
 *   +------+  ------------------>  +----+
 *   | free |                       | me | --- my process dies ---> the tag is dead: CAS dead -> me' by a waiter
 *   +------+  <------------------  +----+
 *
 * Recovery is that one CAS; there is no state in between that would have to be repaired. A pthread robust mutex cannot
 * be the lock: any process or thread may release a Lock (EPERM there), its owner is a thread, and a wait for it does not
 * end for a signal.
 *
 * A waiter sets the waiters' bit of the tag, and sleeps on the word and on the owner's alive word (pp_registry.h) at
 * once; where the kernel cannot do that, and for what the table says, it looks again at every tick.
 *
 * | SIGKILL at                                      | left behind               | repaired by                         |
 * |-------------------------------------------------|---------------------------|-------------------------------------|
 * | "lock.acquired": after the CAS                  | a dead tag                | any waiter, at once; or a failing try |
 * | "lock.marked": bit set, not asleep              | a bit without a sleeper   | the next release wakes nobody       |
 * | asleep                                          | nothing                   | -                                   |
 * | "lock.woken": before its CAS                    | a free lock, sleepers     | their tick                          |
 * | "lock.released": after the exchange, before the wake | the same             | the same                            |
 * | RLock "lock.counted": before thread and depth   | a dead tag                | the next owner sets both            |
 */
#ifndef PP_LOCK_H
#define PP_LOCK_H

#include "core/pp_chunk.h"
#include "core/pp_crash.h"
#include "core/pp_futex.h"

/* Answers of the functions that wait. The caller handles signals between two calls, and calls again. */
enum pp_answer { PP_AGAIN = 0, PP_DONE, PP_RECOVERED, PP_TIMED_OUT, PP_FAILED, PP_ENDED };

#define PP_FIRST_TICK 20000000   /* 20 ms */
#define PP_LAST_TICK 1000000000  /* 1 s */
#define PP_FIRST_DOUBT 500000    /* 0.5 ms */
#define PP_MOST_SPINS 2000
#define PP_DEATH_TICK 40000000   /* 40 ms: where nothing but the tick tells of a death */

/* A wait: what the caller keeps between two calls. */
struct pp_wait {
    int64_t deadline; /* of pp_now, PP_FOREVER for none */
    int64_t tick;     /* how long the next sleep may be */
    int64_t doubt;    /* how long it may be while an owner seems to be dying */
    pp_word *spins;   /* how long to spin first, learnt by the handle; NULL for never */
    int slept;
    int64_t guard; /* how long a queue's lock may be waited for, beyond the deadline; 0: not yet */
    uint32_t seen; /* what a condition, an event or a barrier waits to see changed */
};

void pp_wait_start(struct pp_wait *wait, int64_t deadline, pp_word *spins);

/* The end of the next sleep; the tick after it is twice as long. */
int64_t pp_wait_until(struct pp_wait *wait);

/* Take the lock if it is free, or its owner is dead. PP_DONE, PP_RECOVERED, PP_AGAIN (it is held), PP_FAILED and errno. */
enum pp_answer pp_lock_try(struct pp_chunk *chunk, struct pp_cell *cell);

/* Wait for it, one sleep at the most. */
enum pp_answer pp_lock_wait(struct pp_chunk *chunk, struct pp_cell *cell, struct pp_wait *wait);

/* How many plain locks this process holds, for pp_registry_leave. The caller has the GIL, or it is off by one at times:
 * then a lock that is held at an orderly end is taken for a dead owner's. */
static inline void pp_lock_note_taken(struct pp_chunk *chunk, struct pp_cell *cell)
{
    if (pp_load_own(&cell->kind) == PP_LOCK) {
        pp_store_own(&chunk->registry->held, pp_load_own(&chunk->registry->held) + 1);
    }
}

static inline void pp_lock_note_given(struct pp_chunk *chunk, struct pp_cell *cell)
{
    uint32_t held = pp_load_own(&chunk->registry->held);
    if (held != 0 && pp_load_own(&cell->kind) == PP_LOCK) {
        pp_store_own(&chunk->registry->held, held - 1);
    }
}

/* The fast path of both, with `me` the tag of this process: 1 if that was all. */
static inline int pp_lock_take(struct pp_cell *cell, uint32_t me)
{
    int taken = pp_cas(&cell->word, 0, me);
    if (taken) {
        PP_CRASH_POINT("lock.acquired");
    }
    return taken;
}

/* Whether a thread of this process holds it; note the thread, and how deep, when a pp_lock_ function has taken it. */
static inline int pp_lock_is_mine(struct pp_chunk *chunk, struct pp_cell *cell, uint64_t tid)
{
    uint32_t me = pp_load_own(&chunk->registry->me);
    return me != 0 && (pp_load(&cell->word) & PP_TAG_MASK) == me && pp_load64(&cell->tid) == tid;
}

static inline void pp_lock_own(struct pp_cell *cell, uint64_t tid, uint32_t depth)
{
    PP_CRASH_POINT("lock.counted");
    pp_publish64(&cell->tid, tid);
    pp_publish(&cell->count, depth);
}

/* Give it back, whoever holds it. 0, or -1 if it is free. */
static inline int pp_lock_release(struct pp_chunk *chunk, struct pp_cell *cell)
{
    uint32_t before = pp_exchange(&cell->word, 0);
    if ((before & PP_TAG_MASK) == 0) {
        return -1;
    }
    PP_CRASH_POINT("lock.released");
    if ((before & PP_TAG_WAITERS) != 0) {
        pp_futex_wake(&cell->word, 1);
    }
    if ((before & PP_TAG_MASK) == pp_load_own(&chunk->registry->me)) {
        pp_lock_note_given(chunk, cell);
    }
    return 0;
}

/* RLock: give back one level; 0, or -1 if the thread does not hold it. */
static inline int pp_rlock_release(struct pp_chunk *chunk, struct pp_cell *cell, uint64_t tid)
{
    if (!pp_lock_is_mine(chunk, cell, tid)) {
        return -1;
    }
    uint32_t depth = pp_load_own(&cell->count);
    if (depth > 1) {
        pp_publish(&cell->count, depth - 1);
        return 0;
    }
    /* The thread goes first: who sees our tag with an old thread would take a stranger for the owner. */
    pp_publish64(&cell->tid, 0);
    return pp_lock_release(chunk, cell);
}

#endif
