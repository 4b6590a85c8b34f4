/* Barrier: arrivals are counted under a short guard; the last one starts the next generation, which lets all go.
 *
 *   value = generation << 1 | broken       slept on by who has arrived
 *   count = who has arrived in this generation; when that is all, one of them runs the action, and newcomers wait
 *   died  = bit (generation % 32): this generation was broken by reset
 *
 *         arrive ... arrive, the last: action -> count = 0, generation + 1, wake all
 *           |  timeout, abort, a failing action: broken, wake all        reset: generation + 1, marked, wake all
 *
 * The guard is a lock (pp_lock.h), held for a few stores, never over a sleep or the action.
 *
 * | SIGKILL at                               | left behind                  | repaired by                            |
 * |------------------------------------------|------------------------------|----------------------------------------|
 * | "barrier.guarded"                        | the guard with a dead tag    | the next who takes it                  |
 * | "barrier.arrived": counted, guard held   | the same; it has arrived     | the same; a killed member counts       |
 * | in the action                            | all wait                     | their tick: the runner is dead: broken |
 * | "barrier.opened": before the wake-up     | sleepers                     | their tick                             |
 */
#ifndef PP_BARRIER_H
#define PP_BARRIER_H

#include "core/pp_lock.h"

enum pp_arrival { PP_ARRIVED, PP_LAST, PP_FULL, PP_BROKEN };

/* Take and give back the guard. PP_DONE; PP_AGAIN: call again; PP_FAILED. */
enum pp_answer pp_barrier_guard(struct pp_chunk *chunk, struct pp_cell *cell, struct pp_wait *wait);

/* With the guard, which is given back: arrive. PP_ARRIVED: *index is the place, wait->seen the generation, wait. PP_LAST:
 * the same, but run the action and call pp_barrier_open. PP_FULL: all have arrived, wait for the next generation, and
 * try again. PP_BROKEN: it is. */
enum pp_arrival pp_barrier_arrive(struct pp_chunk *chunk, struct pp_cell *cell, uint32_t *index, struct pp_wait *wait);

/* Without the guard: PP_DONE when the generation is over; then pp_barrier_was_broken says how. PP_TIMED_OUT, PP_AGAIN. */
enum pp_answer pp_barrier_wait(struct pp_chunk *chunk, struct pp_cell *cell, struct pp_wait *wait);
int pp_barrier_was_broken(struct pp_cell *cell, uint32_t generation);

/* With the guard, which is given back. */
void pp_barrier_open(struct pp_chunk *chunk, struct pp_cell *cell, uint32_t generation);
void pp_barrier_abort(struct pp_chunk *chunk, struct pp_cell *cell);
void pp_barrier_reset(struct pp_chunk *chunk, struct pp_cell *cell);

static inline int pp_barrier_is_broken(struct pp_cell *cell) { return pp_load(&cell->value) & 1; }

/* How many wait now. */
uint32_t pp_barrier_waiting(struct pp_cell *cell);

#endif
