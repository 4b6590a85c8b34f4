#define _GNU_SOURCE
#include "core/pp_barrier.h"

#include "core/pp_crash.h"

#define BROKEN ((uint64_t)1 << 32)
#define NEXT_BROKEN ((uint64_t)2 << 32)
#define ONE_MORE ((uint64_t)4 << 32) /* generation */
#define FULL 0x80000000u

static uint32_t generation_of(uint64_t state) { return (uint32_t)(state >> 34); }

/* The half of the word that is slept on. */
static pp_word *upper_half(struct pp_cell *cell)
{
    return (pp_word *)(void *)&cell->barrier.state + (__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? 1 : 0);
}

static void wake_all(struct pp_cell *cell) { pp_futex_wake(upper_half(cell), 0x7fffffff); }

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

enum pp_arrival pp_barrier_arrive(struct pp_chunk *chunk, struct pp_cell *cell, uint32_t parties, uint32_t *index,
                                  struct pp_wait *wait)
{
    enum pp_arrival arrival;
    uint64_t state, after;
    do { /* one may break it without the guard, whose runner has died */
        state = after = pp_load64(&cell->barrier.state);
        if ((state & BROKEN) != 0) {
            arrival = PP_BROKEN;
        } else if ((pp_lo32(state) & FULL) != 0 || pp_lo32(state) >= parties) {
            arrival = PP_FULL;
        } else if (pp_lo32(state) + 1 == parties) {
            arrival = PP_LAST;
            after = (state & ~(uint64_t)UINT32_MAX) | FULL | pp_me(chunk->registry);
        } else {
            arrival = PP_ARRIVED;
            after = state + 1;
        }
    } while (after != state && !pp_cas64(&cell->barrier.state, state, after));
    if (after != state) {
        PP_CRASH_POINT("barrier.arrived");
    }
    *index = pp_lo32(state);
    wait->seen = generation_of(state);
    pp_lock_release(chunk, cell);
    return arrival;
}

/* Give the guard back, and then wake all: whom a wake-up puts in our place would find the guard held. */
static void release_and_wake(struct pp_chunk *chunk, struct pp_cell *cell)
{
    pp_lock_release(chunk, cell);
    PP_CRASH_POINT("barrier.unguarded");
    wake_all(cell);
}

/* Break it, if it is still in this state; all are to be woken then. */
static int break_now(struct pp_cell *cell, uint64_t state)
{
    if (!pp_cas64(&cell->barrier.state, state, (state & ~(uint64_t)UINT32_MAX) | BROKEN)) {
        return 0;
    }
    PP_CRASH_POINT("barrier.broken");
    return 1;
}

enum pp_answer pp_barrier_wait(struct pp_chunk *chunk, struct pp_cell *cell, struct pp_wait *wait)
{
    uint64_t state = pp_load64(&cell->barrier.state);
    if (generation_of(state) != wait->seen || (state & BROKEN) != 0) {
        return PP_DONE;
    }
    if (wait->deadline <= pp_now()) {
        return PP_TIMED_OUT;
    }
    if (wait->slept && (pp_lo32(state) & FULL) != 0 && pp_is_dead(chunk->registry, pp_lo32(state))) {
        /* Nobody will open it. One step under no guard: who is late finds it broken already. */
        if (!break_now(cell, state)) {
            return PP_AGAIN;
        }
        wake_all(cell);
        return PP_DONE;
    }
    if (wait->spin != NULL) {
        struct pp_spin *spin = wait->spin;
        wait->spin = NULL; /* once */
        (void)pp_spin_while(upper_half(cell), pp_hi32(state), spin, PP_MAX_SPINS);
        return PP_AGAIN; /* the caller looks whether it was called off meanwhile */
    }
    pp_futex_wait(upper_half(cell), pp_hi32(state), pp_wait_until(wait));
    wait->slept = 1;
    state = pp_load64(&cell->barrier.state);
    return generation_of(state) != wait->seen || (state & BROKEN) != 0 ? PP_DONE : PP_AGAIN;
}

int pp_barrier_is_broken(struct pp_cell *cell) { return (pp_load64(&cell->barrier.state) & BROKEN) != 0; }

int pp_barrier_was_broken(struct pp_cell *cell, uint32_t generation)
{
    uint64_t state = pp_load64(&cell->barrier.state);
    if (generation_of(state) == generation) {
        return (state & BROKEN) != 0;
    }
    return (int)(pp_load(&cell->barrier.broken) >> (generation % 32) & 1);
}

/* End the generation of a state; all are to be woken then. 0: the runner of its action has died, and it was broken meanwhile. */
static int turn(struct pp_cell *cell, uint64_t state, int by_reset)
{
    uint32_t bit = 1u << (generation_of(state) % 32);
    pp_store(&cell->barrier.broken, by_reset ? pp_load(&cell->barrier.broken) | bit : pp_load(&cell->barrier.broken) & ~bit);
    PP_CRASH_POINT("barrier.noted");
    uint64_t after = (state & ~(ONE_MORE - 1)) + ONE_MORE;
    if (!by_reset && (state & NEXT_BROKEN) != 0) {
        after |= BROKEN;
    }
    if (!pp_cas64(&cell->barrier.state, state, after)) {
        return 0;
    }
    PP_CRASH_POINT("barrier.opened");
    return 1;
}

int pp_barrier_open(struct pp_chunk *chunk, struct pp_cell *cell, uint32_t generation)
{
    uint64_t state = pp_load64(&cell->barrier.state);
    int opened = generation_of(state) == generation && (state & BROKEN) == 0 && turn(cell, state, 0);
    if (opened) {
        release_and_wake(chunk, cell);
    } else {
        pp_lock_release(chunk, cell);
    }
    return opened;
}

void pp_barrier_abort(struct pp_chunk *chunk, struct pp_cell *cell)
{
    while (!break_now(cell, pp_load64(&cell->barrier.state))) {
    }
    release_and_wake(chunk, cell);
}

void pp_barrier_reset(struct pp_chunk *chunk, struct pp_cell *cell)
{
    uint64_t state;
    int is_new;
    do { /* also one that is broken: who comes from now on belongs to a new generation */
        state = pp_load64(&cell->barrier.state);
        is_new = pp_lo32(state) == 0 && (state & BROKEN) == 0;
    } while (!is_new && !turn(cell, state, 1));
    if (is_new) {
        pp_lock_release(chunk, cell);
    } else {
        release_and_wake(chunk, cell);
    }
}

enum pp_answer pp_barrier_give_up(struct pp_chunk *chunk, struct pp_cell *cell, uint32_t generation, enum pp_arrival arrival)
{
    enum pp_answer answer = PP_AGAIN;
    uint64_t state = pp_load64(&cell->barrier.state);
    if (generation_of(state) == generation && (state & BROKEN) == 0) {
        if (arrival != PP_FULL) {
            answer = break_now(cell, state) ? PP_DONE : PP_AGAIN;
        } else if (pp_cas64(&cell->barrier.state, state, state | NEXT_BROKEN)) {
            PP_CRASH_POINT("barrier.doomed");
            answer = PP_DONE;
        }
    }
    if (answer == PP_DONE && arrival != PP_FULL) {
        release_and_wake(chunk, cell);
    } else {
        pp_lock_release(chunk, cell);
    }
    return answer;
}

void pp_barrier_nudge(struct pp_cell *cell) { wake_all(cell); }

uint32_t pp_barrier_waiting(struct pp_cell *cell, uint32_t parties)
{
    uint32_t count = pp_lo32(pp_load64(&cell->barrier.state));
    return (count & FULL) == 0 && count < parties ? count : 0;
}
