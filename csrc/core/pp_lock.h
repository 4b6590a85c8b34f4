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
 * | "lock.counted", "lock.owned", "lock.disowned"   | a dead tag                | the next owner sets thread and depth |
 * | "lock.handed": a Lock held at an orderly end    | nothing: it waits for who releases it | -                       |
 *
 * Who holds it is said by one word at a time. `word` says which process, and is what others wait for. Of a thread, the
 * holder is the one whose process and thread stand in `holder` (pp_holder), which it writes when it has the lock and its
 * depth is there, and takes back before it gives the lock back: no thread is ever taken for the owner by what two words
 * say that were written by two.
 */
#ifndef PP_LOCK_H
#define PP_LOCK_H

#include "core/pp_chunk.h"
#include "core/pp_crash.h"
#include "core/pp_wait.h"

/* Take the lock if it is free, or its owner is dead. PP_DONE, PP_RECOVERED, PP_AGAIN (it is held), PP_FAILED and errno. */
enum pp_answer pp_lock_try(struct pp_chunk *chunk, struct pp_cell *cell);

/* Wait for it, one sleep at the most. */
enum pp_answer pp_lock_wait(struct pp_chunk *chunk, struct pp_cell *cell, struct pp_wait *wait);

/* The fast path of both, with `me` the tag of this process: 1 if that was all. */
static inline int pp_lock_acquire(struct pp_cell *cell, uint32_t me)
{
    int taken = pp_cas(&cell->word, 0, me);
    if (taken) {
        PP_CRASH_POINT("lock.acquired");
    }
    return taken;
}

/* Which thread of which process: what `holder` is while a thread holds a Lock or an RLock. One word for both: what a dead
 * process has left there, or another thread has not yet written over, is never taken for our own. A thread is told by the
 * page of memory that it keeps its own data in (pthread_self); no two threads that live share one. */
static inline uint64_t pp_holder(uint32_t me, uint64_t thread)
{
    return (uint64_t)me << 33 | (thread >> 12 & 0x1ffffffff);
}

static inline uint32_t pp_holder_process(uint64_t holder) { return (uint32_t)(holder >> 33); }

/* Whether a thread of this process holds it. */
static inline int pp_lock_is_mine(struct pp_chunk *chunk, struct pp_cell *cell, uint64_t thread)
{
    uint32_t me = pp_load_own(&chunk->tenant->me);
    return me != 0 && pp_load64(&cell->lock.holder) == pp_holder(me, thread) && (pp_load(&cell->word) & PP_TAG_MASK) == me;
}

/* The thread owns it, and how deep, when a pp_lock_ function has taken it: from the last store here on, not before. */
static inline void pp_lock_own(struct pp_chunk *chunk, struct pp_cell *cell, uint64_t thread, uint32_t depth)
{
    pp_publish(&cell->lock.depth, depth);
    PP_CRASH_POINT("lock.counted");
    pp_publish64(&cell->lock.holder, pp_holder(pp_load_own(&chunk->tenant->me), thread));
    PP_CRASH_POINT("lock.owned");
}

/* Give it back, whoever holds it. 0, or -1 if it is free. What locks inside of others (queues, barriers) are given back
 * by, which no thread owns. */
static inline int pp_lock_release(struct pp_chunk *chunk, struct pp_cell *cell)
{
    (void)chunk;
    uint32_t before = pp_exchange(&cell->word, 0);
    if ((before & PP_TAG_MASK) == 0) {
        return -1;
    }
    PP_CRASH_POINT("lock.released");
    if ((before & PP_TAG_WAITERS) != 0) {
        pp_futex_wake(&cell->word, 1);
    }
    return 0;
}

/* Release a Lock, or the last level of an RLock: first nobody owns it any more, then it is free. */
static inline int pp_lock_give(struct pp_chunk *chunk, struct pp_cell *cell)
{
    if ((pp_load(&cell->word) & PP_TAG_MASK) == 0) {
        return -1; /* and who takes it at this moment stays its owner */
    }
    pp_publish64(&cell->lock.holder, 0);
    PP_CRASH_POINT("lock.disowned");
    return pp_lock_release(chunk, cell);
}

/* RLock: give back one level; 0, or -1 if the thread does not hold it. */
static inline int pp_rlock_release(struct pp_chunk *chunk, struct pp_cell *cell, uint64_t thread)
{
    if (!pp_lock_is_mine(chunk, cell, thread)) {
        return -1;
    }
    uint32_t depth = pp_load_own(&cell->lock.depth);
    if (depth > 1) {
        pp_publish(&cell->lock.depth, depth - 1); /* killed here: the next owner writes its own */
        return 0;
    }
    return pp_lock_give(chunk, cell);
}

#endif
