#define _GNU_SOURCE
#include "core/pp_lock.h"

#include <errno.h>

#include "core/pp_crash.h"
#include "core/pp_futex.h"
#include "core/pp_spin.h"


void pp_wait_start(struct pp_wait *wait, int64_t deadline, pp_word *spins)
{
    wait->deadline = deadline;
    wait->tick = PP_FIRST_TICK;
    wait->doubt = PP_FIRST_DOUBT;
    wait->spins = pp_processors() > 1 ? spins : NULL;
    wait->slept = 0;
    wait->guard = 0;
    wait->seen = 0;
}

int64_t pp_wait_until(struct pp_wait *wait)
{
    int64_t until = pp_now() + wait->tick;
    if (wait->tick < PP_LAST_TICK) {
        wait->tick *= 2;
    }
    return until < wait->deadline ? until : wait->deadline;
}

static enum pp_answer taken(struct pp_chunk *chunk, struct pp_cell *cell, enum pp_answer answer)
{
    PP_CRASH_POINT("lock.acquired");
    pp_lock_note_taken(chunk, cell);
    return answer;
}

enum pp_answer pp_lock_try(struct pp_chunk *chunk, struct pp_cell *cell)
{
    uint32_t me = pp_tag(chunk->registry);
    if (me == 0) {
        return PP_FAILED;
    }
    uint32_t now = pp_load(&cell->word);
    if (now == 0) {
        return pp_cas(&cell->word, 0, me) ? taken(chunk, cell, PP_DONE) : PP_AGAIN;
    }
    if ((now & PP_TAG_MASK) != 0 && !pp_is_dead(chunk->registry, now)) {
        return PP_AGAIN;
    }
    /* Those who wait for the dead owner stay marked. A word of nothing but the bit was written over by somebody. */
    if (!pp_cas(&cell->word, now, me | (now & PP_TAG_WAITERS))) {
        return PP_AGAIN;
    }
    pp_add(&cell->died, 1);
    return taken(chunk, cell, PP_RECOVERED);
}

/* Spin while it is held by somebody who runs, as long as that has been worth it. Whether it is free now. */
static int spin(struct pp_cell *cell, pp_word *spins)
{
    uint32_t limit = pp_spin_limit(spins, PP_MOST_SPINS);
    for (uint32_t i = 0; i < limit; i++) {
        if (pp_load(&cell->word) == 0) {
            pp_spin_learn(spins, i, PP_MOST_SPINS, 1);
            return 1;
        }
        pp_pause();
    }
    pp_spin_learn(spins, limit, PP_MOST_SPINS, 0);
    return 0;
}

enum pp_answer pp_lock_wait(struct pp_chunk *chunk, struct pp_cell *cell, struct pp_wait *wait)
{
    uint32_t me = pp_tag(chunk->registry);
    if (me == 0) {
        return PP_FAILED;
    }
    if (!wait->slept && wait->spins != NULL && spin(cell, wait->spins) && pp_cas(&cell->word, 0, me)) {
        return taken(chunk, cell, PP_DONE);
    }
    pp_registry_rearm(chunk->registry);
    for (;;) {
        uint32_t now = pp_load(&cell->word);
        if (now == 0) {
            /* Others may sleep whom our wake-up was not for: the mark stays. */
            if (pp_cas(&cell->word, 0, me | PP_TAG_WAITERS)) {
                return taken(chunk, cell, PP_DONE);
            }
            continue;
        }
        if ((now & PP_TAG_WAITERS) == 0 && !pp_cas(&cell->word, now, now | PP_TAG_WAITERS)) {
            continue;
        }
        now |= PP_TAG_WAITERS;
        if ((now & PP_TAG_MASK) == 0 || pp_is_dead(chunk->registry, now)) {
            if (pp_cas(&cell->word, now, me | PP_TAG_WAITERS)) {
                pp_add(&cell->died, 1);
                return taken(chunk, cell, PP_RECOVERED);
            }
            continue;
        }
        PP_CRASH_POINT("lock.marked");
        if (wait->deadline <= pp_now()) {
            return PP_TIMED_OUT;
        }
        int64_t until = pp_wait_until(wait);
        uint32_t alive_value = 0;
        pp_word *alive = (now & PP_TAG_MASK) == me ? NULL : pp_alive_word(chunk->registry, now, &alive_value);
        int woken = -ENOSYS;
        if (alive != NULL) {
            woken = pp_futex_wait_two(&cell->word, now, alive, alive_value, until);
        } else if ((now & PP_TAG_MASK) != me) {
            /* The kernel speaks of a death before the process is gone for everybody. Or only a thread has ended. */
            int64_t soon = pp_now() + wait->doubt;
            wait->doubt *= 2;
            until = soon < until ? soon : until;
        }
        if (woken == -ENOSYS) {
            pp_futex_wait(&cell->word, now, until);
        } else if (woken == 1) {
            /* The kernel wakes one of those who wait for a process's end; that one wakes the others. */
            pp_futex_wake(alive, 0x7fffffff);
        }
        wait->slept = 1;
        PP_CRASH_POINT("lock.woken");
        now = pp_load(&cell->word);
        if (now == 0 && pp_cas(&cell->word, 0, me | PP_TAG_WAITERS)) {
            return taken(chunk, cell, PP_DONE);
        }
        return PP_AGAIN;
    }
}
