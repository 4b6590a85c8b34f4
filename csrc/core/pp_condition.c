#include "core/pp_condition.h"

#include "core/pp_crash.h"
#include "core/pp_futex.h"
#include "core/pp_spin.h"

static void leave(struct pp_cell *cell)
{
    uint32_t count = pp_load(&cell->count);
    while (count != 0 && !pp_cas(&cell->count, count, count - 1)) {
        count = pp_load(&cell->count);
    }
}

static int take_permit(struct pp_cell *cell, uint32_t base)
{
    for (;;) {
        uint32_t issued = pp_load(&cell->died);
        uint32_t taken = pp_load(&cell->max);
        if ((int32_t)(issued - base) <= 0 || (int32_t)(issued - taken) <= 0) {
            return 0;
        }
        if (pp_cas(&cell->max, taken, taken + 1)) {
            leave(cell);
            return 1;
        }
    }
}

uint32_t pp_condition_enter(struct pp_cell *cell)
{
    pp_add(&cell->count, 1);
    return pp_load(&cell->died);
}

enum pp_answer pp_condition_wait(struct pp_cell *cell, struct pp_wait *wait)
{
    uint32_t now = pp_load(&cell->value); /* before the look at the permits: who notifies after it changes this */
    if (take_permit(cell, wait->seen)) {
        return PP_DONE;
    }
    if (!wait->slept && wait->spins != NULL && pp_spin_while(&cell->value, now, wait->spins, PP_MOST_SPINS) &&
        take_permit(cell, wait->seen)) {
        return PP_DONE;
    }
    if (wait->deadline <= pp_now()) {
        return PP_TIMED_OUT;
    }
    PP_CRASH_POINT("condition.released");
    wait->slept = 1;
    pp_futex_wait(&cell->value, now, pp_wait_until(wait));
    return take_permit(cell, wait->seen) ? PP_DONE : PP_AGAIN;
}

int pp_condition_exit(struct pp_cell *cell, struct pp_wait *wait)
{
    if (take_permit(cell, wait->seen)) {
        return 1;
    }
    leave(cell);
    return 0;
}

void pp_condition_notify(struct pp_cell *cell, struct pp_cell *lock, uint32_t count)
{
    uint32_t waiting = pp_load(&cell->count);
    int32_t coming = (int32_t)(pp_load(&cell->died) - pp_load(&cell->max));
    uint32_t free = coming > 0 ? (waiting > (uint32_t)coming ? waiting - (uint32_t)coming : 0) : waiting;
    if (count > free) {
        count = free;
    }
    if (count == 0) {
        return;
    }
    pp_add(&cell->died, count);
    uint32_t value = pp_add(&cell->value, 1) + 1;
    PP_CRASH_POINT("condition.issued");
    /* Who is moved is woken by a release, and only a marked word wakes on release. */
    pp_or(&lock->word, PP_TAG_WAITERS);
    if (pp_futex_requeue(&cell->value, value, &lock->word, (int)(count & 0x7fffffff)) < 0) {
        pp_futex_wake(&cell->value, (int)(count & 0x7fffffff)); /* another notifies at once: they use two locks */
    }
}
