/* Condition: to notify is to issue permits and to move sleepers over to the lock; to wait is to sleep until one has a permit.
 *
 *   cell: value = sequence, slept on; count = who waits; died = permits issued; max = permits taken
 *
 *   wait:    base = issued; count + 1; release the lock; sleep until issued > base and taken < issued: taken + 1; lock
 *   notify:  issued + min(n, those who wait and have none coming); value + 1;
 *            FUTEX_CMP_REQUEUE that many sleepers from `value` to the lock's word, which is marked
 *
 * Waking them at once instead of moving them would have them all run into the lock that the notifier still holds. `base`
 * keeps a newcomer from a permit that was issued before it came. The kernel takes a killed sleeper out of its queue, so
 * that a live one is moved in its place; a permit that a dead one should have taken is left over, and lets somebody
 * wake up once for nothing, which conditions may.
 *
 * | SIGKILL at                                     | left behind               | repaired by                             |
 * |------------------------------------------------|---------------------------|-----------------------------------------|
 * | "condition.released": waiter, before its sleep | it stays counted          | at worst a wake-up for nothing          |
 * | waiter, notified, before it has the lock       | nothing                   | its notification is lost, as everywhere |
 * | "condition.issued": before the move            | permits, sleepers         | their tick: they take the permits       |
 */
#ifndef PP_CONDITION_H
#define PP_CONDITION_H

#include "core/pp_lock.h"

/* With the lock: come to wait. What is returned goes to wait->seen. */
uint32_t pp_condition_enter(struct pp_cell *cell);

/* Without it. PP_DONE: notified; PP_TIMED_OUT; PP_AGAIN. */
enum pp_answer pp_condition_wait(struct pp_cell *cell, struct pp_wait *wait);

/* A wait that ends without being notified. Returns whether it was, at the last moment. */
int pp_condition_exit(struct pp_cell *cell, struct pp_wait *wait);

/* Notify up to `count`; `lock` is held by the caller. */
void pp_condition_notify(struct pp_cell *cell, struct pp_cell *lock, uint32_t count);

#endif
