#include "core/pp_sleep.h"

#include "core/pp_crash.h"

static int wake_first(pp_word *word, pp_word *asleep)
{
    pp_store(asleep, PP_WOKEN);
    PP_CRASH_POINT("queue.lowered");
    pp_add(word, 1); /* killed here: as before, their tick */
    if (pp_futex_wake(word, 1) > 0) {
        return 1;
    }
    pp_cas(asleep, PP_WOKEN, 0); /* killed here: nobody is asleep */
    return 0;
}

int pp_wake_one(pp_word *word, pp_word *asleep)
{
    return pp_load(asleep) == PP_ASLEEP && wake_first(word, asleep);
}

void pp_wake_all(pp_word *word, pp_word *asleep)
{
    pp_store(asleep, 0); /* killed here: their tick */
    pp_add(word, 1); /* killed here: their tick */
    pp_futex_wake(word, 0x7fffffff);
}

struct wanted {
    struct pp_queue *queue;
    pp_ready ready;
    struct pp_wait *wait;
};

static int is_there(void *what)
{
    struct wanted *wanted = (struct wanted *)what;
    return wanted->ready(wanted->queue, wanted->wait);
}

enum pp_answer pp_sleep_on(struct pp_queue *queue, pp_word *word, pp_word *asleep, pp_ready ready,
                           struct pp_wait *wait)
{
    if (wait == NULL) {
        return PP_AGAIN;
    }
    if (wait->deadline <= pp_now()) {
        return PP_TIMED_OUT;
    }
    struct wanted wanted = {queue, ready, wait};
    if (wait->spin != NULL && pp_spin_until(is_there, &wanted, wait->spin, PP_MAX_SPINS)) {
        return PP_AGAIN;
    }
    uint32_t seen = pp_load(word);
    pp_store(asleep, PP_ASLEEP); /* killed here: a wake-up for nobody */
    if (ready(queue, wait)) {
        return PP_AGAIN;
    }
    pp_futex_wait(word, seen, pp_wait_until(wait));
    wait->slept = 1;
    PP_CRASH_POINT("queue.woken");
    return PP_AGAIN;
}
