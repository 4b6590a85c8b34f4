/* Condition: to notify is to issue permits and to move sleepers over to the lock; to wait is to sleep until one has a permit.
 *
 *   cell: sequence, slept on
 *         state = permits issued, ever << 32 | permits that nobody has taken yet << 16 | who waits and has none coming
 *
 *   wait:    base = issued, waiting + 1; release the lock; sleep until issued > base and there is a permit: take it; lock
 *   notify:  n = min(n, waiting): issued + n, permits + n, waiting - n; sequence + 1;
 *            FUTEX_CMP_REQUEUE that many sleepers from `sequence` to the lock's word, which is marked
 *   time-out: take a permit, if there is one, else waiting - 1
 *
 * Each of these is one CAS: else who gives up between a look for a permit and its leaving would be notified, and its
 * permit, which nobody takes, would count as coming to who comes next.
 *
 * Waking one at once instead of moving it would have it run into the lock that the notifier still holds. Of many, some are
 * woken all the same: moved, each is woken by the release of the one before it, and what a wake-up takes adds up. `base`
 * keeps a newcomer from a permit that was issued before it came. The kernel takes a killed sleeper out of its queue, so
 * that a live one is moved in its place; a permit that a dead one should have taken is left over, and lets somebody
 * wake up once for nothing, which conditions may.
 *
 * | SIGKILL at                                     | left behind               | repaired by                             |
 * |------------------------------------------------|---------------------------|-----------------------------------------|
 * | "condition.released": waiter, before its sleep | it stays counted          | at worst a wake-up for nothing          |
 * | waiter, notified, before it has the lock       | nothing                   | its notification is lost, as everywhere |
 * | "condition.entered": waiter, with the lock      | a dead tag; it stays counted | the next who takes the lock          |
 * | "condition.permitted", "condition.issued": before the move | permits, sleepers | their tick: they take the permits  |
 */
#ifndef PP_CONDITION_H
#define PP_CONDITION_H

#include "core/pp_lock.h"

/* With the lock: come to wait. What is returned goes to wait->seen. */
uint32_t pp_condition_enter(struct pp_cell *cell);

/* Without it. PP_DONE: notified; PP_TIMED_OUT; PP_AGAIN. */
enum pp_answer pp_condition_wait(struct pp_cell *cell, struct pp_wait *wait);

/* A wait that ends without being notified. Returns whether it was, at the last moment, if it `takes` that: a wait that
 * ends by an exception leaves a permit to others. */
int pp_condition_exit(struct pp_cell *cell, struct pp_wait *wait, int takes);

/* How many wait. */
uint32_t pp_condition_waiting(struct pp_cell *cell);

/* Notify up to `count`; `lock` is held by the caller. */
void pp_condition_notify(struct pp_cell *cell, struct pp_cell *lock, uint32_t count);

#endif
