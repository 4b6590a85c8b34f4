/* A message that is put straight before a receiver who waits for it: beside a pipe or socket, which stays what it is.
 *
 *     receiver: nothing is on its way through the kernel -- say that I wait -- look, then sleep on the word -- copy
 *     sender:   does one wait, and is nothing on its way? -- copy -- say so -- wake
 *
 *             CAS by the receiver          CAS by the sender
 *     idle  ---------------------> looking -------------------> filled --> idle (the receiver has copied it)
 *       ^                             |  \                        ^
 *       |  withdrawn: a signal,       v   `--> asleep ------------'
 *       +-- a moment is over --- looking, asleep --- knocked (come and read the descriptor) --> idle
 *
 * A message lies here only while a receiver is inside its call, so that whoever polls or selects, reads the descriptor
 * itself, or has inherited it, sees what it would see anyway. Where no receiver waits, or the message is too long, it goes
 * through the kernel. The end of the other side is seen there, too: a receiver waits here for PP_HANDOFF_MOMENT at most,
 * and then as ever.
 *
 * Order: what goes through the kernel is counted before it is written (`sent`) and after it was read (`received`). While
 * they differ nobody waits here and nothing is put here. Each stores its own and then looks at the other's: a receiver
 * that says too late that it waits sees the count; a sender that counts too late to be seen sees the receiver, and knocks.
 * Counts that stay apart, since somebody was killed between the two, cost the short cut and nothing else. Where something
 * was read that nobody had counted, a program without us writes to the other end: the short cut is over (`off`).
 *
 * | SIGKILL at                                  | left behind                 | repaired by                              |
 * |---------------------------------------------|-----------------------------|------------------------------------------|
 * | "handoff.looking", "handoff.asleep"         | a receiver with a dead tag  | senders pass it over; the next receiver  |
 * | "handoff.claimed": before or in the copying | a sender with a dead tag    | the next sender                          |
 * | "handoff.told": before it wakes anybody     | the same, and a sleeper     | its moment is over, and it looks         |
 * | a receiver, before it copies                | a message for a dead tag    | the next receiver has it                 |
 * | "handoff.taken"                             | nothing; it is gone with the receiver that had it | -                  |
 * | "handoff.counted", before it is written     | counts that stay apart      | all goes through the kernel              |
 */
#ifndef PP_HANDOFF_H
#define PP_HANDOFF_H

#include "core/pp_chunk.h"
#include "core/pp_spin.h"

#define PP_HANDOFF_ROOM 224
#define PP_HANDOFF_MOMENT 10000000 /* 10 ms: later than the next tick of the kernel's clock, so that it need not be set */

/* One direction. */
struct pp_handoff_way {
    pp_word64 word; /* what it has come to (what is slept on), and from bit 32 on the receiver's tag */
    pp_word sender; /* the tag of the process that fills it */
    pp_word sent, received;
    pp_word known; /* a sender of ours has sent something */
    pp_word off;
    pp_word size;
    unsigned char bytes[PP_HANDOFF_ROOM];
};

struct pp_handoff_page {
    struct pp_cell self; /* kind PP_HANDOFF */
    struct pp_handoff_way ways[2];
};

/* What it lies beside. One of our own conversations: no program writes by its descriptor, and so nobody has to look. */
enum pp_beside { PP_BESIDE_SOCKET, PP_BESIDE_PIPE, PP_BESIDE_OWN };

/* One end, in one process. Without a chunk there is no short cut. */
struct pp_handoff {
    struct pp_chunk *chunk;
    struct pp_handoff_page *page;
    uint32_t offset;
    uint32_t side;  /* 0 or 1: receives by ways[side] */
    uint32_t beside; /* enum pp_beside */
    struct pp_spin spin;
    pp_word left;     /* this end has another descriptor now, and nothing to do with it */
    pp_word is_hasty; /* its descriptor does not block, and so nobody waits here */
};

/* Both ends of a new one; the second may be NULL, and for another process. 0, or -1 and errno. */
int pp_handoff_make(struct pp_handoff *first, struct pp_handoff *second, uint32_t beside);

/* An end that came from another process. Takes over the handle to the chunk. 0 if there is none at that place. */
int pp_handoff_adopt(struct pp_handoff *end, struct pp_chunk *chunk, uint32_t offset, uint32_t side, uint32_t beside);

/* Put a message before a receiver, if one waits: whether that was done. If not it must be written to `fd`, and is counted. */
int pp_handoff_send(struct pp_handoff *end, int fd, const void *bytes, size_t size);

/* It was counted, and nothing of it could be written. */
void pp_handoff_unsent(struct pp_handoff *end);

/* What came of a wait: the message is there; handle signals and come again; go and read the descriptor. */
enum pp_handoff_answer { PP_HANDED, PP_HANDOFF_SIGNAL, PP_HANDOFF_READ };

/* Announce a waiter, where a message may come this way: before a request is sent, so that its answer finds one. Whether
 * that was done; then pp_handoff_go_on or pp_handoff_withdraw must follow. */
int pp_handoff_begin(struct pp_handoff *end);

/* Wait for a message for a moment; `bytes` has PP_HANDOFF_ROOM. */
enum pp_handoff_answer pp_handoff_go_on(struct pp_handoff *end, void *bytes, size_t *size);

/* Whether something was said since it was begun: to go on takes no time. */
int pp_handoff_is_said(struct pp_handoff *end);

/* Wait no more. 0: something was said meanwhile, and is to be heard by pp_handoff_go_on. */
int pp_handoff_withdraw(struct pp_handoff *end);

/* To begin, and to go on. */
enum pp_handoff_answer pp_handoff_receive(struct pp_handoff *end, void *bytes, size_t *size);

/* A message was read from the descriptor. */
void pp_handoff_read(struct pp_handoff *end);

/* This process closes the end: its threads that wait here are to look, and so is the one that waits at the other end. */
void pp_handoff_close(struct pp_handoff *end);

#endif
