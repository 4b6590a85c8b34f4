/* What a queue is made of, in shared memory and in a process: below queue, block, sleep and slot. pp_queue.h says how they
 * use it. */
#ifndef PP_QUEUE_LAYOUT_H
#define PP_QUEUE_LAYOUT_H

#include <errno.h>

#include "core/pp_chunk.h"
#include "core/pp_lock.h"

#define PP_SEGMENT 262144u
#define PP_SEGMENTS 131072u
#define PP_MAX_RECORD 65536u /* longer messages go to a slot */
#define PP_MAX_SLOTS 32768u
#define PP_WINDOWS 512u /* of 256 segments: what is mapped at once */

/* What is found to be wrong with a page: errno for PP_FAILED. */
#define PP_WRITTEN_OVER EILSEQ

enum pp_record_kind { PP_BYTES = 1, PP_PICKLE, PP_LARGE_BYTES, PP_LARGE_PICKLE, PP_JUMP };

/* See pp_slot.h. */
struct pp_slot {
    pp_word64 holder;
    pp_word64 size;
};

struct pp_queue_page {
    struct pp_cell self; /* kind PP_QUEUE */
    struct pp_cell writers;
    struct pp_cell readers;
    pp_word64 tail; /* items ever put | position: under `writers` */
    pp_word free_segment; /* where to begin to look for one */
    pp_word segments_ever; /* those from here on were never used */
    uint32_t unused_1[12];
    pp_word64 head; /* items ever taken | position: under `readers` */
    pp_word leaked; /* a lock was recovered: segments may have been left behind */
    pp_word handed; /* the next item is for one who was woken */
    pp_word handing_gap;    /* ns: how long after that another may be, at the earliest */
    uint32_t unused_2[1];
    pp_word64 next_handing; /* and when that is, a time of pp_now */
    uint32_t unused_7[8];
    pp_word items, items_asleep; /* changed when there is one more */
    pp_word lent; /* of a set: it wakes by its own word for now, and not by the waker's */
    uint32_t unused_3[13];
    pp_word room, room_asleep; /* changed when there is one less */
    uint32_t unused_4[14];
    pp_word done_to; /* joinable: items before this one need no task_done when they are taken; under `readers` */
    pp_word all_done, all_done_asleep;
    pp_word ended;  /* shut down: nothing more can be put */
    pp_word polled; /* somebody uses the descriptor */
    pp_word swept;  /* which slot the sweep looks at next */
    uint64_t slot_size;
    uint32_t slots_there;
    pp_word slots_ever; /* those from here on were never used */
    pp_word takers_ever; /* those from here on were never used */
    uint32_t unused_5[5];
    pp_word segments[PP_SEGMENTS]; /* used (bit 31) | steps of memory that it has (28..30) | next */
    struct pp_slot slots[PP_MAX_SLOTS];
    pp_word64 takers[PP_SLOTS]; /* joinable, for each slot of the registry: whose count it is (a tag) | how many */
};

_Static_assert(offsetof(struct pp_queue_page, segments) == 512, "the tables begin a line; a test counts on 512");

/* A process's side. */
struct pp_queue {
    struct pp_chunk *chunk;
    struct pp_queue_page *page;
    _Atomic(char *) windows[PP_WINDOWS];
    struct pp_fd signal_in, signal_out; /* a pipe that is readable while there are items, once `polled`; -1 for none */
    uint64_t slots_at, slot_size; /* in the file; these and what it is are read once, so that nobody can change them */
    uint32_t slots_there, max, joinable;
    struct pp_spin get_spins, put_spins, lock_spins;
    pp_word gets; /* how often it was looked for an item without sleeping */
    struct pp_queue *waker; /* whose consumer is woken in place of its own: see pp_queue_set.h; NULL for none */
    uint32_t mark, is_marked; /* of who hears a set */
    pp_word lent; /* which time it is that it is lent, as its page's, which others can write over; 0: it is not */
    uint32_t times_lent;
};

struct pp_record {
    enum pp_record_kind kind;
    const void *bytes;
    uint32_t length;
    int64_t slot; /* of the large kinds: what `bytes` begin with */
    uint32_t tag; /* 16 bits for the user: who put it, or which one it is */
};

static inline int pp_is_large(const struct pp_record *record)
{
    return record->kind == PP_LARGE_BYTES || record->kind == PP_LARGE_PICKLE;
}

/* What `head` and `tail` hold. */
static inline uint32_t pp_items(uint64_t word) { return pp_hi32(word); }
static inline uint32_t pp_place(uint64_t word) { return pp_lo32(word); }

#endif
