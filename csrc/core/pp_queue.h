/* A queue for any number of producers and consumers: records in a chain of segments, in one anonymous file.
 *
 *   file:  | page: locks, head, tail, tables | segment 0 | segment 1 | ... 2^17 of 256 KiB | slots of pp_slot ...
 *            mapped by all (pp_chunk)          mapped when looked at; memory only where something was written
 *
 *   head                                                              tail
 *    v                                                                 v
 *   [rec|rec|rec|JUMP]  ->  [rec|rec|rec|rec|JUMP]  ->  [rec|rec|rec| free ]           -> : segments[i].next
 *       segment 5               segment 0                   segment 2
 *
 * A record is a header of 8 bytes (length, kind) and its bytes, padded to 8. It never crosses a segment: what does not
 * fit goes to the start of a free one, and a JUMP tells the consumer. A segment that the consumer leaves is free again;
 * the first few keep their memory, the others give it back to the system. So a queue whose consumers keep up lives in
 * one or two warm segments, and one that nobody reads grows, in shared memory: nothing waits in a producer, which may
 * end at once.
 *
 * A producer that dies leaves no half message: the record is written beyond `tail`, and counts from the one store that
 * moves `tail`, which holds position and number of items in one word. A consumer likewise takes a record by the one
 * store that moves `head`. Two locks whose dead owner is replaced (pp_lock.h) keep producers from each other, and
 * consumers. Nobody waits with one of them: who waits for an item sleeps as pp_sleep.h says. One sleeper is woken for
 * each record, and who was woken wakes the next if there is more: a burst wakes no herd, and a sleeper that was killed
 * costs at most a tick.
 *
 * Who was woken has to take its item before one who was awake comes by again, and would lose that race for ever while a
 * consumer is fast. So now and then a consumer that finds items without having slept, while others sleep, hands one over:
 * it sets `handed` and wakes one, and all who have not slept stand back until that one has taken it, or a
 * millisecond is over. That happens each 0.3 ms at most, and less often where nobody comes.
 *
 * A joinable queue is done when it is empty, and no living process has taken more than it has said task_done for. Each
 * process counts in a word of its own, with its tag in it: the words of the dead need not be repaired, they just do not
 * count. To take an item is to count it, and then to move `head`: in between it counts twice, and a kill there makes it
 * count once. task_done is one step on one word: on its process's; else on another's, a living one's first; else it is
 * for an item that nobody has taken yet, and `done_to` says so.
 *
 * | SIGKILL at                                             | left behind                   | repaired by                  |
 * |--------------------------------------------------------|-------------------------------|------------------------------|
 * | holding a lock, before anything ("lock.acquired")      | a dead tag                    | the next who takes it        |
 * | "queue.marked", "queue.chained": a new segment, not used | a segment that nobody reaches | the sweep after a recovery   |
 * | "queue.written": record beyond `tail`                  | garbage                       | the next producer            |
 * | "queue.signalled": polled, token sent, not committed   | a token without a record      | who finds nothing drains it  |
 * | "queue.committed": before the lock is given back       | a message, and a dead tag     | the next producer            |
 * | "queue.unlocked": before the wake-up                   | a message, and sleepers       | their tick                   |
 * | "queue.peeked", "queue.counted": before `head` moves   | the message, at the head      | the next consumer gets it    |
 * | "queue.done", "queue.forestalled"                      | sleepers in join()            | their tick                   |
 * | "queue.told": a token, before `polled` or `ended`      | a token without a reason      | who finds nothing drains it  |
 * | "queue.polled", "queue.ended": before the lock is given back | a dead tag, sleepers    | the next producer; their tick |
 * | "queue.taken": after `head` moved                      | only what it had taken is lost| -                            |
 * | "queue.left", "queue.emptied": head is in the next segment | a segment that nobody reaches | the sweep after a recovery |
 * | "queue.swept"                                          | the same                      | the next sweep               |
 * | "queue.lowered": before the wake-up                    | sleepers                      | their tick                   |
 * | "queue.freed": before producers are woken              | room, and sleepers            | their tick                   |
 * | "queue.handed": before anybody is woken                | an item that is kept for nobody | others stand back no longer than they do at most |
 * | asleep, or woken ("queue.woken")                       | a wake-up spent on the dead   | the others' tick             |
 */
#ifndef PP_QUEUE_H
#define PP_QUEUE_H

#include "core/pp_queue_layout.h"

/* Make a queue, or use one that came from another process (0 if it is none). The descriptors stay the caller's. */
int pp_queue_make(struct pp_queue *queue, uint32_t max, int joinable);
int pp_queue_adopt(struct pp_queue *queue, struct pp_chunk *chunk, uint32_t offset);
void pp_queue_drop(struct pp_queue *queue);

/* Add a record; without `wait` not waiting for anything. PP_AGAIN: call again, after signals were handled; PP_TIMED_OUT:
 * no room before the deadline; PP_ENDED; PP_FAILED and errno (ENOSPC, ENOMEM: no memory; EILSEQ: written over). */
enum pp_answer pp_queue_put(struct pp_queue *queue, struct pp_record *record, struct pp_wait *wait);

/* Look at the oldest record, with PP_DONE: then the lock of the consumers is held, `record` points into the queue, and
 * pp_queue_commit_get or pp_queue_abort_get must follow. Others as above; PP_ENDED: it is empty and shut down. */
enum pp_answer pp_queue_begin_get(struct pp_queue *queue, struct pp_record *record, struct pp_wait *wait);

/* Take it: it is ours from here on. */
void pp_queue_commit_get(struct pp_queue *queue, struct pp_record *record, struct pp_wait *wait);

/* Leave it where it is. */
void pp_queue_abort_get(struct pp_queue *queue);

/* Wait until there is one to take, or it is shut down; take nothing. */
enum pp_answer pp_queue_await(struct pp_queue *queue, struct pp_wait *wait);

uint32_t pp_queue_size(struct pp_queue *queue);
int pp_queue_is_full(struct pp_queue *queue);

/* Make the descriptor readable while there are items, from now on. */
enum pp_answer pp_queue_poll(struct pp_queue *queue, struct pp_wait *wait);

/* End the queue: nothing more can be put, and the waiters are woken. PP_DONE, PP_AGAIN, PP_FAILED. */
enum pp_answer pp_queue_end(struct pp_queue *queue, struct pp_wait *wait);

/* Joinable: one more is done. PP_ENDED if there is none left; PP_AGAIN, PP_FAILED. */
enum pp_answer pp_queue_done(struct pp_queue *queue, struct pp_wait *wait);

/* How many are not, but for those that the dead had taken. */
uint32_t pp_queue_unfinished(struct pp_queue *queue);
enum pp_answer pp_queue_join(struct pp_queue *queue, struct pp_wait *wait);

#endif
