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
 *
 * Where both share a processor, what takes the place of a look is to let the other run once (sched_yield(2)): it has been
 * woken, or lets us run. Neither sleeps then, and neither wakes the other: two system calls there and back in place of
 * four, and a message finds its receiver waiting. That is tried after 64 waits, and goes on while it pays; in vain, which
 * costs 0.2 us where nobody else is there, it is tried again after 4, 16, 64, ... 4096 waits. Others who want the processor
 * keep it for their slice, milliseconds: so if it takes longer than a moment it is left alone for 65,536 waits, whether
 * something came or not.
 */
#ifndef PP_SPIN_H
#define PP_SPIN_H

#include <sched.h>

#include "core/pp_atomic.h"
#include "core/pp_futex.h"

#define PP_SPIN_START 60u
#define PP_SPIN_TRIES 1024u
#define PP_SPIN_NEVER 0xffffffffu

#define PP_YIELD_START (4u << 16 | 63)
#define PP_YIELD_PAYS 0xffffffffu
#define PP_YIELD_SELDOM 7u
#define PP_YIELD_MOMENT 100000 /* 0.1 ms: what takes longer, others have used */

/* What a handle has learnt. */
struct pp_spin {
    pp_word looks;  /* how often to look, and how often in a row that was in vain; or PP_SPIN_NEVER */
    pp_word yields; /* how often in a row it was in vain to let others run, and how many waits are held off; or PP_YIELD_PAYS */
};

static inline void pp_spin_start(struct pp_spin *spin)
{
    pp_store_own(&spin->looks, PP_SPIN_START);
    pp_store_own(&spin->yields, PP_YIELD_START);
}

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

/* -- on one processor -- */

/* Whether to let others run this time. */
static inline int pp_yield_is_due(struct pp_spin *spin)
{
    uint32_t word = pp_load_own(&spin->yields);
    int is_due = word == PP_YIELD_PAYS || (word & 0xffff) == 0;
    if (!is_due) {
        pp_store_own(&spin->yields, word - 1);
    }
    return is_due;
}

/* What came of it, and how many nanoseconds it took. */
static inline void pp_yield_learn(struct pp_spin *spin, int64_t taken, int worth)
{
    uint32_t word = pp_load_own(&spin->yields), in_vain = word == PP_YIELD_PAYS ? 1 : (word >> 16) + 1;
    if (taken > PP_YIELD_MOMENT) {
        word = PP_YIELD_SELDOM << 16 | 0xffff;
    } else if (worth) {
        word = PP_YIELD_PAYS;
    } else {
        in_vain = in_vain < PP_YIELD_SELDOM ? in_vain : PP_YIELD_SELDOM;
        word = in_vain << 16 | ((1u << 2 * (in_vain - 1)) - 1);
    }
    pp_store_own(&spin->yields, word);
}

/* -- both -- */

typedef int (*pp_spin_ready)(void *what);

static inline int pp_yield_until(pp_spin_ready ready, void *what, struct pp_spin *spin)
{
    int64_t start = pp_now();
    sched_yield();
    int is_ready = ready(what);
    pp_yield_learn(spin, pp_now() - start, is_ready);
    return is_ready;
}

/* Before a sleep: look, let others run, or neither, as it has paid. Whether it is ready. */
static inline int pp_spin_until(pp_spin_ready ready, void *what, struct pp_spin *spin, uint32_t most)
{
    int pays = pp_load_own(&spin->yields) == PP_YIELD_PAYS;
    if (pays && (ready(what) || pp_yield_until(ready, what, spin))) {
        return 1;
    }
    uint32_t limit = pp_processors() > 1 ? pp_spin_limit(&spin->looks, most) : 0;
    for (uint32_t i = 0; i < limit; i++) {
        if (ready(what)) {
            pp_spin_learn(&spin->looks, i, most, 1);
            return 1;
        }
        pp_pause();
    }
    pp_spin_learn(&spin->looks, limit, most, 0);
    return !pays && pp_yield_is_due(spin) && pp_yield_until(ready, what, spin);
}

struct pp_spin_word {
    pp_word *word;
    uint32_t before;
};

static inline int pp_spin_has_changed(void *what)
{
    struct pp_spin_word *spin = (struct pp_spin_word *)what;
    return pp_load(spin->word) != spin->before;
}

/* Spin as above while a word is as it was; return whether it has changed. */
static inline int pp_spin_while(pp_word *word, uint32_t before, struct pp_spin *spin, uint32_t most)
{
    struct pp_spin_word what = {word, before};
    return pp_spin_until(pp_spin_has_changed, &what, spin, most);
}

#endif
