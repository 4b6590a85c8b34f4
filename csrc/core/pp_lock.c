#define _GNU_SOURCE
#include "core/pp_lock.h"

#include <errno.h>

#include "core/pp_crash.h"

static int take(struct pp_cell *cell, uint32_t before, uint32_t after)
{
    int taken = pp_cas(&cell->word, before, after);
    if (taken) {
        PP_CRASH_POINT("lock.acquired");
    }
    return taken;
}

enum pp_answer pp_lock_try(struct pp_chunk *chunk, struct pp_cell *cell)
{
    uint32_t me = pp_tag(chunk->registry);
    if (me == 0) {
        return PP_FAILED;
    }
    uint32_t now = pp_load(&cell->word);
    if (now == 0) {
        return take(cell, 0, me) ? PP_DONE : PP_AGAIN;
    }
    if ((now & PP_TAG_MASK) != 0 && !pp_is_dead(chunk->registry, now)) {
        return PP_AGAIN;
    }
    /* Those who wait for the dead owner stay marked. A word of nothing but the bit was written over by somebody. */
    return take(cell, now, me | (now & PP_TAG_WAITERS)) ? PP_RECOVERED : PP_AGAIN;
}

/* Look while it is held by somebody who runs, as long as that has been worth it. Whether it is free now. */
static int look(struct pp_cell *cell, pp_word *spins)
{
    if (pp_processors() == 1) {
        return 0;
    }
    uint32_t limit = pp_spin_limit(spins, PP_MAX_SPINS);
    for (uint32_t i = 0; i < limit; i++) {
        if (pp_load(&cell->word) == 0) {
            pp_spin_learn(spins, i, PP_MAX_SPINS, 1);
            return 1;
        }
        pp_pause();
    }
    pp_spin_learn(spins, limit, PP_MAX_SPINS, 0);
    return 0;
}

enum pp_answer pp_lock_wait(struct pp_chunk *chunk, struct pp_cell *cell, struct pp_wait *wait)
{
    uint32_t me = pp_tag(chunk->registry);
    if (me == 0) {
        return PP_FAILED;
    }
    if (!wait->slept && wait->spin != NULL && look(cell, &wait->spin->looks) && take(cell, 0, me)) {
        return PP_DONE;
    }
    pp_registry_rearm(chunk->registry);
    for (int round = 0; round < PP_MAX_ROUNDS; round++) {
        uint32_t now = pp_load(&cell->word);
        if (now == 0) {
            /* Others may sleep whom our wake-up was not for: the mark stays. */
            if (take(cell, 0, me | PP_TAG_WAITERS)) {
                return PP_DONE;
            }
            continue;
        }
        /* killed here: as at "lock.marked", which comes once its owner was seen to live */
        if ((now & PP_TAG_WAITERS) == 0 && !pp_cas(&cell->word, now, now | PP_TAG_WAITERS)) {
            continue;
        }
        now |= PP_TAG_WAITERS;
        if ((now & PP_TAG_MASK) == 0 || pp_is_dead(chunk->registry, now)) {
            if (take(cell, now, me | PP_TAG_WAITERS)) {
                return PP_RECOVERED;
            }
            continue;
        }
        PP_CRASH_POINT("lock.marked");
        if (wait->deadline <= pp_now()) {
            return PP_TIMED_OUT;
        }
        int64_t until = pp_wait_until(wait);
        uint32_t alive_value = 0;
        int can_die = (now & PP_TAG_MASK) != me && (now & PP_TAG_MASK) != PP_TAG_HANDED;
        pp_word *alive = can_die ? pp_alive_word(chunk->registry, now, &alive_value) : NULL;
        int woken = -ENOSYS;
        if (alive != NULL) {
            woken = pp_futex_wait_two(&cell->word, now, alive, alive_value, until);
        } else if (can_die) {
            /* The kernel speaks of a death before the process is gone for everybody. Or only a thread has ended. */
            int64_t soon = pp_now() + wait->doubt;
            wait->doubt = wait->doubt < PP_DEATH_TICK / 2 ? wait->doubt * 2 : PP_DEATH_TICK;
            until = soon < until ? soon : until;
        }
        if (woken == -ENOSYS) {
            int64_t look = alive != NULL ? pp_now() + PP_DEATH_TICK : until;
            pp_futex_wait(&cell->word, now, look < until ? look : until);
        } else if (woken == 1) {
            /* The kernel wakes one of those who wait for a process's end; that one wakes the others. */
            pp_futex_wake(alive, 0x7fffffff);
        }
        wait->slept = 1;
        PP_CRASH_POINT("lock.woken");
        now = pp_load(&cell->word);
        if (now == 0 && take(cell, 0, me | PP_TAG_WAITERS)) {
            return PP_DONE;
        }
        return PP_AGAIN;
    }
    return wait->deadline <= pp_now() ? PP_TIMED_OUT : PP_AGAIN;
}
