#define _GNU_SOURCE
#include "core/pp_wait.h"

void pp_wait_start(struct pp_wait *wait, int64_t deadline, struct pp_spin *spin)
{
    wait->deadline = deadline;
    wait->tick = PP_FIRST_TICK;
    wait->doubt = PP_FIRST_DOUBT;
    wait->spin = spin;
    wait->slept = 0;
    wait->guard = 0;
    wait->polls = 0;
    wait->seen = 0;
}

int64_t pp_wait_until(struct pp_wait *wait)
{
    if (wait->polls) {
        return 0;
    }
    int64_t until = pp_now() + wait->tick;
    if (wait->tick < PP_LAST_TICK) {
        wait->tick *= 2;
    }
    return until < wait->deadline ? until : wait->deadline;
}
