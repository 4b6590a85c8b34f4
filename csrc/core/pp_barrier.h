/* Barrier: arrivals are counted under a short guard; the last one starts the next generation, which lets all go.
 *
 *   state = one word for all that decides: generation (30 bits) | next is broken | broken        the upper half, slept on
 *                                         full | who runs the action, or 0 | who has arrived     the lower half
 *   broken = bit (generation % 32): this generation was broken by reset; written before the generation ends
 *
 *         arrive ... arrive, the last: full, action -> generation + 1, nobody has arrived; wake all
 *           |  timeout, abort, a failing action: broken, wake all        reset: generation + 1, noted, wake all
 *           +- who comes while it is full waits for the next generation, and who gives up doing so breaks that one
 *
 * Each step is one CAS of that word: there is nothing between two of them. The guard is a lock (pp_lock.h), held for a few
 * stores, never over a sleep or the action; it keeps `broken` and the word together.
 *
 * | SIGKILL at                                       | left behind                  | repaired by                            |
 * |--------------------------------------------------|------------------------------|----------------------------------------|
 * | "barrier.guarded"                                | the guard with a dead tag    | the next who takes it                  |
 * | "barrier.arrived": counted, guard held           | the same; it has arrived     | the same; a killed member counts       |
 * | in the action, or "barrier.noted" as it opens    | all wait                     | their tick: the runner is dead: broken |
 * | "barrier.noted" in a reset                       | a note on a generation that goes on | written anew when that ends     |
 * | "barrier.opened", "barrier.broken", "barrier.unguarded": before the wake-up | sleepers | their tick          |
 * | "barrier.doomed": a late comer gave up           | the next one is broken       | -                                      |
 */
#ifndef PP_BARRIER_H
#define PP_BARRIER_H

#include "core/pp_lock.h"

enum pp_arrival { PP_ARRIVED, PP_LAST, PP_FULL, PP_BROKEN };

/* Take and give back the guard. PP_DONE; PP_AGAIN: call again; PP_FAILED. */
enum pp_answer pp_barrier_guard(struct pp_chunk *chunk, struct pp_cell *cell, struct pp_wait *wait);

/* How many parties there are is read once, by who has a handle: others may write over what stands in the cell. */
#define PP_MAX_PARTIES 0x7fffffffu

/* With the guard, which is given back: arrive. PP_ARRIVED: *index is the place, wait->seen the generation, wait. PP_LAST:
 * the same, but run the action and call pp_barrier_open. PP_FULL: all have arrived, wait for the next generation, and
 * try again. PP_BROKEN: it is. */
enum pp_arrival pp_barrier_arrive(struct pp_chunk *chunk, struct pp_cell *cell, uint32_t parties, uint32_t *index,
                                  struct pp_wait *wait);

/* Without the guard: PP_DONE when the generation is over; then pp_barrier_was_broken says how. PP_TIMED_OUT, PP_AGAIN. */
enum pp_answer pp_barrier_wait(struct pp_chunk *chunk, struct pp_cell *cell, struct pp_wait *wait);
int pp_barrier_was_broken(struct pp_cell *cell, uint32_t generation);

/* With the guard, which is given back. pp_barrier_open: whether it has let them go; else it was broken, or reset, meanwhile. */
int pp_barrier_open(struct pp_chunk *chunk, struct pp_cell *cell, uint32_t generation);
void pp_barrier_abort(struct pp_chunk *chunk, struct pp_cell *cell);
void pp_barrier_reset(struct pp_chunk *chunk, struct pp_cell *cell);

/* Break the generation that the caller had come to (PP_ARRIVED, PP_LAST), or the one after (PP_FULL), and now gives up.
 * PP_AGAIN: it was over, or that one has begun. PP_DONE: it is broken. */
enum pp_answer pp_barrier_give_up(struct pp_chunk *chunk, struct pp_cell *cell, uint32_t generation, enum pp_arrival arrival);

/* Make all waiters look again, at once: one of them was called off. */
void pp_barrier_nudge(struct pp_cell *cell);

int pp_barrier_is_broken(struct pp_cell *cell);

/* How many wait now. */
uint32_t pp_barrier_waiting(struct pp_cell *cell, uint32_t parties);

#endif
