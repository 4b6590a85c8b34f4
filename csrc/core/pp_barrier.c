#define _GNU_SOURCE
#include "core/pp_barrier.h"

#include "core/pp_crash.h"
#include "core/pp_futex.h"

#define BROKEN 1u

enum pp_answer pp_barrier_guard(struct pp_chunk *chunk, struct pp_cell *cell, struct pp_wait *wait)
{
    enum pp_answer answer = pp_lock_try(chunk, cell);
    if (answer == PP_AGAIN) {
        answer = pp_lock_wait(chunk, cell, wait);
    }
    if (answer == PP_DONE || answer == PP_RECOVERED) {
        PP_CRASH_POINT("barrier.guarded");
        return PP_DONE;
    }
    return answer;
}

static uint32_t generation_of(struct pp_cell *cell) { return pp_load(&cell->value) >> 1; }

enum pp_arrival pp_barrier_arrive(struct pp_chunk *chunk, struct pp_cell *cell, uint32_t *index, struct pp_wait *wait)
{
    enum pp_arrival arrival;
    uint32_t arrived = pp_load(&cell->count);
    uint32_t parties = pp_load_own(&cell->max);
    wait->seen = generation_of(cell);
    if (pp_barrier_is_broken(cell)) {
        arrival = PP_BROKEN;
    } else if (arrived >= parties) {
        arrival = PP_FULL;
    } else {
        *index = arrived;
        arrival = arrived + 1 == parties ? PP_LAST : PP_ARRIVED;
        if (arrival == PP_LAST) {
            pp_store(&cell->runner, pp_load_own(&chunk->registry->me));
        }
        pp_store(&cell->count, arrived + 1);
        PP_CRASH_POINT("barrier.arrived");
    }
    pp_lock_release(chunk, cell);
    return arrival;
}

enum pp_answer pp_barrier_wait(struct pp_chunk *chunk, struct pp_cell *cell, struct pp_wait *wait)
{
    uint32_t now = pp_load(&cell->value);
    if (now >> 1 != wait->seen || (now & BROKEN) != 0) {
        return PP_DONE;
    }
    if (wait->deadline <= pp_now()) {
        return PP_TIMED_OUT;
    }
    uint32_t runner = pp_load(&cell->runner);
    if (wait->slept && runner != 0 && pp_is_dead(chunk->registry, runner)) {
        /* Nobody will open it. One store under no guard: who is late finds it broken already. */
        pp_or(&cell->value, BROKEN);
        pp_futex_wake(&cell->value, 0x7fffffff);
        return PP_DONE;
    }
    pp_futex_wait(&cell->value, now, pp_wait_until(wait));
    wait->slept = 1;
    now = pp_load(&cell->value);
    return now >> 1 != wait->seen || (now & BROKEN) != 0 ? PP_DONE : PP_AGAIN;
}

int pp_barrier_was_broken(struct pp_cell *cell, uint32_t generation)
{
    if (generation_of(cell) == generation) {
        return pp_barrier_is_broken(cell);
    }
    return (int)(pp_load(&cell->died) >> (generation % 32) & 1);
}

/* End this generation, and let all go. */
static void turn(struct pp_cell *cell, int broken)
{
    uint32_t generation = generation_of(cell);
    uint32_t bit = 1u << (generation % 32);
    pp_store(&cell->died, broken ? pp_load(&cell->died) | bit : pp_load(&cell->died) & ~bit);
    pp_store(&cell->count, 0);
    pp_store(&cell->runner, 0);
    pp_store(&cell->value, (generation + 1) << 1);
    PP_CRASH_POINT("barrier.opened");
    pp_futex_wake(&cell->value, 0x7fffffff);
}

void pp_barrier_open(struct pp_chunk *chunk, struct pp_cell *cell, uint32_t generation)
{
    if (generation_of(cell) == generation && !pp_barrier_is_broken(cell)) {
        turn(cell, 0);
    }
    pp_lock_release(chunk, cell);
}

void pp_barrier_abort(struct pp_chunk *chunk, struct pp_cell *cell)
{
    pp_store(&cell->count, 0);
    pp_store(&cell->runner, 0);
    pp_or(&cell->value, BROKEN);
    pp_futex_wake(&cell->value, 0x7fffffff);
    pp_lock_release(chunk, cell);
}

void pp_barrier_reset(struct pp_chunk *chunk, struct pp_cell *cell)
{
    /* Also one that nobody waits at, or that is broken: who comes from now on belongs to a new generation. */
    if (pp_load(&cell->count) != 0 || pp_barrier_is_broken(cell)) {
        turn(cell, 1);
    }
    pp_lock_release(chunk, cell);
}

uint32_t pp_barrier_waiting(struct pp_cell *cell)
{
    uint32_t count = pp_load(&cell->count);
    return count < pp_load_own(&cell->max) ? count : 0;
}
