/* Event: a flag, and a count of how often it was set, in the word that is slept on.
 *
 *   state = sets << 2 | somebody sleeps << 1 | is set
 *
 * A waiter goes on when the flag is set, or when the count is another than when it came: a set that is cleared again
 * before the waiter runs is not missed. There is no owner and nothing to repair: killed between the store and the wake-up
 * ("event.set"), the flag is set, and the sleepers see it at their tick; killed before its sleep ("event.marked"), a waiter
 * leaves a wake-up for nobody.
 */
#ifndef PP_EVENT_H
#define PP_EVENT_H

#include "core/pp_cell.h"
#include "core/pp_wait.h"

static inline int pp_event_is_set(struct pp_cell *cell) { return pp_load(&cell->event.state) & 1; }

void pp_event_set(struct pp_cell *cell);
void pp_event_clear(struct pp_cell *cell);

/* PP_DONE, PP_TIMED_OUT, PP_AGAIN. Before the first call wait->seen is what pp_event_look returned. */
uint32_t pp_event_look(struct pp_cell *cell);
enum pp_answer pp_event_wait(struct pp_cell *cell, struct pp_wait *wait);

#endif
