/* Waiting for a word in shared memory to change: futex(2), between processes, with absolute monotonic deadlines.
 *
 * Never FUTEX_PRIVATE_FLAG: the words are in memory that several processes map. Never a relative time: a wait that
 * a signal interrupts would start anew with the whole of it.
 */
#ifndef PP_FUTEX_H
#define PP_FUTEX_H

#include <stdint.h>

#include "core/pp_atomic.h"

#define PP_FOREVER INT64_MAX

/* Nanoseconds on CLOCK_MONOTONIC. */
int64_t pp_now(void);

/* How many processors this process and those that it waits for may run on, looked up once: with one, nobody spins. A
 * process that is tied to one counts those of the machine: its partner may be tied to another. */
int pp_processors(void);

/* Sleep while *word is `value`, until woken or `deadline` (a time of pp_now). Returns 0 when woken or when the word
 * was another at once, else ETIMEDOUT or EINTR. Wake-ups without a reason happen: the caller looks again. */
int pp_futex_wait(pp_word *word, uint32_t value, int64_t deadline);

/* Sleep as above on two words at once (futex_waitv, Linux 5.16). Returns 0 when woken for the first, 1 for the second, 2 when
 * one of them was another at once, or -ETIMEDOUT, -EINTR, -ENOSYS (an old kernel or a container's filter: it is then not
 * asked again). */
int pp_futex_wait_two(pp_word *word, uint32_t value, pp_word *other, uint32_t other_value, int64_t deadline);

/* Wake up to `count` sleepers; returns how many there were. */
int pp_futex_wake(pp_word *word, int count);

/* Wake up to `wake` sleepers of `word`, and move up to `count` others to `target`, if *word is `value`. Returns how many
 * that were, or -1 if the word was another. */
int pp_futex_requeue(pp_word *word, uint32_t value, pp_word *target, int wake, int count);

#endif
