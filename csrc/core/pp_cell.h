/* A cell: 64 bytes of a chunk, which hold one shared object, or begin it.
 *
 *   +------+------+----------------------------------------------+
 *   | word | kind | what an object of that kind has              |
 *   +------+------+----------------------------------------------+
 *
 * What the fields mean, and which store is whose, each kind's own header says. A cell stays of the kind that it was made
 * as; what came from another process is checked to be of the kind that is asked for (pp_chunk_cell).
 */
#ifndef PP_CELL_H
#define PP_CELL_H

#include "core/pp_atomic.h"

#define PP_CELL_SIZE 64

enum pp_kind { PP_LOCK = 1, PP_RLOCK, PP_SEMAPHORE, PP_EVENT, PP_CONDITION, PP_BARRIER, PP_MEMORY, PP_QUEUE, PP_GUARD,
               PP_HANDOFF };

struct pp_cell {
    pp_word word; /* owner's tag, 0 if there is none: Lock, RLock, the guard of a Barrier, the two of a queue */
    pp_word kind; /* enum pp_kind */
    union {
        struct {            /* Lock, RLock */
            pp_word64 holder; /* the owner's process and thread: pp_holder */
            pp_word depth;
        } lock;
        struct {
            pp_word sequence; /* slept on */
            pp_word count;    /* tokens that nobody is known to hold */
            pp_word asleep;   /* whether nobody, one or several may be */
            pp_word tokens;   /* how many words follow the cell, one a token */
            pp_word bounded;  /* 0, or the most that `count` may be + 1 */
        } semaphore;
        struct {
            pp_word state; /* slept on: sets << 2 | somebody sleeps << 1 | is set */
        } event;
        struct {
            pp_word64 state;  /* permits issued, ever << 32 | permits that nobody has taken << 16 | who waits */
            pp_word sequence; /* slept on */
        } condition;
        struct {
            pp_word64 state; /* all that decides; its upper half is slept on */
            pp_word broken;  /* which generations were, by reset */
            pp_word parties;
        } barrier;
        struct {
            pp_word64 size; /* bytes that follow */
        } memory;
        struct {
            pp_word max; /* how many items it holds at most, or 0 */
            pp_word joinable;
        } queue;
        uint64_t whole[7];
    };
};

_Static_assert(sizeof(struct pp_cell) == PP_CELL_SIZE, "the layout of a cell is shared");

#endif
