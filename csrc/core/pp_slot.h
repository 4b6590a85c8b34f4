/* Slots: where the large messages of a queue lie, each in a part of the queue's file of its own.
 *
 *   producer:  take a slot -- write(2) the data -- put a record that names it
 *   consumer:  take the record -- map the slot, privately -- and give it back when nobody looks at it any more
 *
 * Data is copied once, by the producer. The consumer's memory is private to it: a page that it writes to becomes its
 * own.
 *
 * A slot's word says who holds it and for which item of the queue. It is free when it is zero, or when its holder is
 * dead and its item is not waiting in the queue. So a message outlives its producer, a consumer that is killed gives
 * back what it had, and there is nothing to repair: each change is one store or one CAS of that word.
 *
 *   word = tag << 0 | item << 32          take: me, an item that was taken long ago     send: me, the item it becomes
 *                                         receive: me (the consumer), its item          give back: 0
 *
 * | SIGKILL at                                    | left behind                      | repaired by                  |
 * |-----------------------------------------------|----------------------------------|------------------------------|
 * | "slot.taken", "slot.filled", "slot.sent"      | a dead holder, no item in the queue | the next who looks for one |
 * | after the record is there                     | a dead holder, its item waiting  | the consumer holds it next   |
 * | "slot.received": before `head` moves          | the same                         | the next consumer            |
 * | "slot.given"                                  | a free slot                      | -                            |
 * | holding it, looking at it                     | a dead holder, an item gone by   | the next who looks for one   |
 */
#ifndef PP_SLOT_H
#define PP_SLOT_H

#include "core/pp_queue_layout.h"

/* Take a slot for `size` bytes; -1 and errno: EMSGSIZE (larger than any), ENOSPC (there is none). */
int64_t pp_slot_reserve(struct pp_queue *queue, uint64_t size);

/* Where it is in the file. */
static inline int64_t pp_slot_at(struct pp_queue *queue, int64_t slot)
{
    return (int64_t)(queue->slots_at + (uint64_t)slot * queue->slot_size);
}

/* Write to it at an offset. How many bytes were, or -1 and errno. */
int64_t pp_slot_write(struct pp_queue *queue, int64_t slot, uint64_t offset, const void *bytes, uint64_t count);

/* Whether so much was written to it: a size that a record says is not believed, where it is so large that memory for it
 * would be taken from others in vain. */
int pp_slot_has(struct pp_queue *queue, int64_t slot, uint64_t size);

/* Under the producers' lock, before its record counts; under the consumers', before its record is gone. */
void pp_slot_send(struct pp_queue *queue, int64_t slot, uint32_t item);
void pp_slot_receive(struct pp_queue *queue, int64_t slot, uint32_t item);

/* Give it back, if this process holds it; its memory is kept for the next, within bounds. */
void pp_slot_give(struct pp_queue *queue, int64_t slot);

/* Bytes of memory that slots have at this moment. */
uint64_t pp_slot_memory(struct pp_queue *queue);

/* -- a slot that is mapped -- */

struct pp_view {
    struct pp_view *next, *before;
    struct pp_queue *queue; /* the caller keeps it */
    int64_t slot;           /* -1 once the memory is its own */
    char *bytes;
    size_t size;
};

/* Map `size` bytes of a slot that this process holds. 0 and errno. At a fork the memory becomes its own. */
int pp_view_map(struct pp_view *view, struct pp_queue *queue, int64_t slot, size_t size);
void pp_view_unmap(struct pp_view *view);

#endif
