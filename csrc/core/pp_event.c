#include "core/pp_event.h"

#include "core/pp_crash.h"

#define SET 1u
#define ASLEEP 2u
#define COUNT 4u

void pp_event_set(struct pp_cell *cell)
{
    uint32_t now;
    do {
        now = pp_load(&cell->event.state);
        if ((now & SET) != 0) {
            return;
        }
    } while (!pp_cas(&cell->event.state, now, (now & ~(COUNT - 1)) + COUNT + SET));
    PP_CRASH_POINT("event.set");
    if ((now & ASLEEP) != 0) {
        pp_futex_wake(&cell->event.state, 0x7fffffff);
    }
}

void pp_event_clear(struct pp_cell *cell)
{
    uint32_t now;
    do {
        now = pp_load(&cell->event.state);
    } while ((now & SET) != 0 && !pp_cas(&cell->event.state, now, now & ~SET)); /* killed here: it is cleared */
}

uint32_t pp_event_look(struct pp_cell *cell) { return pp_load(&cell->event.state) / COUNT; }

enum pp_answer pp_event_wait(struct pp_cell *cell, struct pp_wait *wait)
{
    for (;;) {
        uint32_t now = pp_load(&cell->event.state);
        if ((now & SET) != 0 || now / COUNT != wait->seen) {
            return PP_DONE;
        }
        if (wait->deadline <= pp_now()) {
            return PP_TIMED_OUT;
        }
        if (wait->spin != NULL) {
            struct pp_spin *spin = wait->spin;
            wait->spin = NULL; /* once */
            if (pp_spin_while(&cell->event.state, now, spin, PP_MAX_SPINS)) {
                continue;
            }
        }
        if ((now & ASLEEP) == 0 && !pp_cas(&cell->event.state, now, now | ASLEEP)) {
            continue;
        }
        PP_CRASH_POINT("event.marked");
        pp_futex_wait(&cell->event.state, now | ASLEEP, pp_wait_until(wait));
        now = pp_load(&cell->event.state);
        return (now & SET) != 0 || now / COUNT != wait->seen ? PP_DONE : PP_AGAIN;
    }
}
