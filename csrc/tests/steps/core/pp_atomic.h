/* The atomics, with a place before each exchange of a whole word where a test does another's step. */
#include_next "core/pp_atomic.h"

#ifndef PP_ATOMIC_STEPS_H
#define PP_ATOMIC_STEPS_H

void before_exchange(void);

#define pp_cas64(word, before, after) (before_exchange(), pp_cas64(word, before, after))

#endif
