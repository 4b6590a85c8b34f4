/* How long to look before one sleeps: learnt, since a fixed number is wrong somewhere.
 *
 * A peer that runs on another processor answers in a microsecond or some; a sleep and its wake-up cost ten times that.
 * When both share a processor, or the peer is busy, looking is pure loss. So the number of looks grows while what is
 * waited for comes during them, shrinks to nearly none while it does not, and then a long look is tried now and then: as
 * long as a sleeping peer on another processor may take to wake up (50 us and more), since two that both sleep find out
 * only so that they need not. Sooner at first, then more and more seldom: on one processor such a look is lost. What was
 * there at the first look teaches nothing: whoever brought it may have run here, before us.
 *
 * The word holds the number (16 bits) and how often in a row it was not worth it; or PP_SPIN_NEVER.
 */
#ifndef PP_SPIN_H
#define PP_SPIN_H

#include "core/pp_atomic.h"

#define PP_SPIN_START 60u
#define PP_SPIN_TRIES 1024u
#define PP_SPIN_NEVER 0xffffffffu

/* How often to look this time, up to `most`. */
static inline uint32_t pp_spin_limit(pp_word *spins, uint32_t most)
{
    uint32_t word = pp_load_own(spins), limit = word & 0xffff;
    if (word == PP_SPIN_NEVER) {
        return 0;
    }
    uint32_t in_vain = word >> 16;
    if (in_vain == 16 || in_vain == 64 || in_vain == 256 || in_vain % PP_SPIN_TRIES == PP_SPIN_TRIES - 1) {
        return most;
    }
    return limit < most ? limit : most;
}

/* What came of it. */
static inline void pp_spin_learn(pp_word *spins, uint32_t looked, uint32_t most, int worth)
{
    uint32_t word = pp_load_own(spins), limit = word & 0xffff;
    if (word == PP_SPIN_NEVER || (worth && looked == 0)) {
        return;
    }
    if (worth) {
        limit = (limit > looked ? limit : looked) * 9 / 8 + 8;
        pp_store_own(spins, limit < most ? limit : most);
    } else {
        pp_store_own(spins, ((word >> 16) + 1) % 0xffff << 16 | (limit - (limit + 3) / 4));
    }
}

/* Look while the word is as it was. Whether it has changed. */
static inline int pp_spin_while(pp_word *word, uint32_t before, pp_word *spins, uint32_t most)
{
    uint32_t limit = pp_spin_limit(spins, most);
    for (uint32_t i = 0; i < limit; i++) {
        if (pp_load(word) != before) {
            pp_spin_learn(spins, i, most, 1);
            return 1;
        }
        pp_pause();
    }
    pp_spin_learn(spins, limit, most, 0);
    return 0;
}

#endif
