#include "core/pp_condition.h"

#include "core/pp_crash.h"

#define MAX_COUNT 0xffffu

static uint32_t issued_of(uint64_t state) { return pp_hi32(state); }
static uint32_t coming_of(uint64_t state) { return (uint32_t)(state >> 16) & MAX_COUNT; }
static uint32_t waiting_of(uint64_t state) { return (uint32_t)state & MAX_COUNT; }

static uint64_t state_of(uint32_t issued, uint32_t coming, uint32_t waiting)
{
    return pp_pack64(issued, (coming < MAX_COUNT ? coming : MAX_COUNT) << 16 | (waiting < MAX_COUNT ? waiting : MAX_COUNT));
}

/* Whether there is a permit for who came when `base` had been issued. */
static int has_permit(uint64_t state, uint32_t base)
{
    return coming_of(state) > 0 && (int32_t)(issued_of(state) - base) > 0;
}

static uint64_t without_permit(uint64_t state)
{
    return state_of(issued_of(state), coming_of(state) - 1, waiting_of(state));
}

static int take_permit(struct pp_cell *cell, uint32_t base)
{
    uint64_t state;
    do {
        state = pp_load64(&cell->condition.state);
        if (!has_permit(state, base)) {
            return 0;
        }
    } while (!pp_cas64(&cell->condition.state, state, without_permit(state))); /* killed here: who was notified is dead */
    return 1;
}

uint32_t pp_condition_enter(struct pp_cell *cell)
{
    uint64_t state, after;
    do {
        state = pp_load64(&cell->condition.state);
        after = state_of(issued_of(state), coming_of(state), waiting_of(state) + 1);
    } while (!pp_cas64(&cell->condition.state, state, after));
    PP_CRASH_POINT("condition.entered");
    return issued_of(state);
}

enum pp_answer pp_condition_wait(struct pp_cell *cell, struct pp_wait *wait)
{
    uint32_t now = pp_load(&cell->condition.sequence); /* before the look at the permits: who notifies after it changes this */
    if (take_permit(cell, wait->seen)) {
        return PP_DONE;
    }
    if (!wait->slept && wait->spin != NULL && pp_spin_while(&cell->condition.sequence, now, wait->spin, PP_MAX_SPINS) &&
        take_permit(cell, wait->seen)) {
        return PP_DONE;
    }
    if (wait->deadline <= pp_now()) {
        return PP_TIMED_OUT;
    }
    PP_CRASH_POINT("condition.released");
    wait->slept = 1;
    pp_futex_wait(&cell->condition.sequence, now, pp_wait_until(wait));
    return take_permit(cell, wait->seen) ? PP_DONE : PP_AGAIN;
}

int pp_condition_exit(struct pp_cell *cell, struct pp_wait *wait, int takes)
{
    uint64_t state, after;
    int taken;
    do {
        state = pp_load64(&cell->condition.state);
        uint32_t waiting = waiting_of(state);
        taken = takes && has_permit(state, wait->seen);
        after = taken ? without_permit(state) : state_of(issued_of(state), coming_of(state), waiting > 0 ? waiting - 1 : 0);
    } while (!pp_cas64(&cell->condition.state, state, after)); /* killed here: it waits no longer, and is not counted */
    return taken;
}

uint32_t pp_condition_waiting(struct pp_cell *cell)
{
    uint64_t state = pp_load64(&cell->condition.state);
    return coming_of(state) + waiting_of(state);
}

/* How many are woken with the first: it takes a processor long to wake up, and several do it at the same time. */
#define AT_ONCE 4

void pp_condition_notify(struct pp_cell *cell, struct pp_cell *lock, uint32_t count)
{
    uint64_t state, after;
    do {
        state = pp_load64(&cell->condition.state);
        uint32_t waiting = waiting_of(state);
        count = count < waiting ? count : waiting;
        after = state_of(issued_of(state) + count, coming_of(state) + count, waiting - count);
    } while (count != 0 && !pp_cas64(&cell->condition.state, state, after));
    PP_CRASH_POINT("condition.permitted");
    if (count == 0) {
        return;
    }
    uint32_t value = pp_add(&cell->condition.sequence, 1) + 1;
    PP_CRASH_POINT("condition.issued");
    /* Who is moved is woken by a release, and only a marked word wakes on release. */
    pp_or(&lock->word, PP_TAG_WAITERS); /* killed here: a mark without a sleeper, on a lock of the dead */
    int at_once = count - 1 < AT_ONCE ? (int)count - 1 : AT_ONCE;
    if (pp_futex_requeue(&cell->condition.sequence, value, &lock->word, at_once, (int)(count & 0x7fffffff)) < 0) {
        pp_futex_wake(&cell->condition.sequence, (int)(count & 0x7fffffff)); /* another notifies at once: they use two locks */
    }
}
