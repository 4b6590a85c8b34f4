/* Turn: how many chunks of a batch its worker has begun, in one word that the pool can close.
 *
 *   place of the batch << 16 | closed << 15 | chunks begun
 *
 *   worker   begin:  word = place << 16                   one store
 *            take:   CAS word -> word + 1, unless it is closed: the chunk is its own
 *   pool     close:  word | closed; the chunks from what it was on are its own again, if the place is that batch's
 *
 * `take` and `close` are one atomic step each, so a chunk is begun by the worker or taken back, never both. Where the
 * place is another's, the worker has not come to the batch, which then is still in its queue, or is past it. The bit that
 * `close` has set all the same goes with the worker's next `begin`; at worst a batch ends early, which is answered as it
 * always is: with what was done, and the rest is handed out again.
 *
 * | SIGKILL at                          | left behind                                | repaired by                        |
 * |-------------------------------------|--------------------------------------------|------------------------------------|
 * | "turn.begun": after the store       | a batch of which nothing is begun          | its death fails what it had        |
 * | "turn.taken": after the CAS         | a chunk that counts as begun               | the same: it is never run twice    |
 *
 * The pool does not die in `close`: with it all workers end.
 */
#ifndef PP_BATCH_CURSOR_H
#define PP_BATCH_CURSOR_H

#include "core/pp_atomic.h"
#include "core/pp_crash.h"

#define PP_TURN_CLOSED 0x8000u

static inline void pp_batch_begin(pp_word *turn, uint16_t place)
{
    pp_store(turn, (uint32_t)place << 16);
    PP_CRASH_POINT("turn.begun");
}

/* Whether the next chunk is the worker's. One that is refused does not count: the pool may close twice, when its first
 * `close` was meant for the batch before. Whoever writes over the word has a batch end early, at worst. */
static inline int pp_batch_claim(pp_word *turn)
{
    uint32_t was = pp_load(turn);
    if ((was & PP_TURN_CLOSED) != 0 || !pp_cas(turn, was, was + 1)) { /* only `close` can come between */
        return 0;
    }
    PP_CRASH_POINT("turn.taken");
    return 1;
}

/* How many were begun of the batch at a place; -1 where the worker is elsewhere. */
static inline int pp_batch_close(pp_word *turn, uint16_t place)
{
    uint32_t was = pp_or(turn, PP_TURN_CLOSED); /* killed here: with the pool, its workers end */
    return was >> 16 == place ? (int)(was & (PP_TURN_CLOSED - 1)) : -1;
}

#endif
