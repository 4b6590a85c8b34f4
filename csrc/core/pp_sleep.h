/* How those who wait for a queue sleep: on a word that changes, with a flag that says whether anybody does.
 *
 *     sleeper: look at the word -- set the flag -- is it ready? -- sleep while the word is what it was
 *     waker:   make it ready -- is the flag set? -- clear it -- change the word -- wake
 *
 * The order closes the gap: who sets the flag too late to be seen sees that it is ready. A flag heals where a count of
 * sleepers would go wrong when one is killed. (It is cleared by saying that one was woken, until that one looks.) Every sleep is bounded by a tick, for the waker that dies in between.
 */
#ifndef PP_SLEEP_H
#define PP_SLEEP_H

#include "core/pp_queue_layout.h"

/* Whether there is what a wait is for. */
typedef int (*pp_ready)(struct pp_queue *queue, struct pp_wait *wait);

/* One sleep, unless `ready`; before it, some spinning where that has been worth it (pp_spin.h). PP_AGAIN, PP_TIMED_OUT. */
enum pp_answer pp_sleep_on(struct pp_queue *queue, pp_word *word, pp_word *asleep, pp_ready ready,
                           struct pp_wait *wait);

/* What the flag says: that somebody may be asleep; that one was woken who has not looked yet, and nobody else is. */
enum { PP_ASLEEP = 1, PP_WOKEN };

/* Wake one, or all; whether one was. One that was woken wakes the next if there is reason to, having set the flag again. */
int pp_wake_one(pp_word *word, pp_word *asleep);
void pp_wake_all(pp_word *word, pp_word *asleep);

#endif
