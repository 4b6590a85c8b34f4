/* Semaphore: tokens that know their holders, so that those of a dead process can be given back.
 *
 *   cell: tokens = how many, count = tokens of nobody, sequence to sleep on, asleep
 *   then as many words, one a token:   0 free | holder's tag | holder's tag + BRACKET (taken by `with`)
 *
 *   asleep says whether nobody, one or several may sleep, and how often that has changed. Who comes to sleep adds itself
 *   before its last look for a token; a release looks after it has given one. One that sleeps alone is taken off by who
 *   wakes it. Of several nobody knows how many are left: the release that finds none takes them all off, if none has come
 *   since its look, which the count of changes says.
 *
 *   acquire: a free word: CAS 0 -> me; else count: CAS n -> n-1; else sleep
 *   release: my own word -> 0; else somebody's that is not BRACKET -> 0; else, bounded: any -> 0, or an error;
 *            not bounded: count + 1
 *
 * Taking a token is one CAS: no journal, nothing to repair. A dead holder's token is taken over by who finds none free, if
 * it was sure to be given back: one taken by `with`, or any of a bounded semaphore. Acquiring a plain semaphore without
 * ever releasing it is how producers tell consumers of something; such a token stays taken.
 *
 * More than 32 tokens are a plain count, without recovery: `tokens` is 0, and `count` holds them all.
 *
 * | SIGKILL at                            | left behind                  | repaired by                               |
 * |---------------------------------------|------------------------------|-------------------------------------------|
 * | "semaphore.taken", "semaphore.taken_over" | a token with a dead tag  | who finds none free                       |
 * | "semaphore.freed": before the wake-up | a free token, sleepers       | their tick                                |
 * | "semaphore.woken": before its CAS     | the same                     | the same                                  |
 * | "semaphore.counted": taken off, not yet woken | the same            | the same                                  |
 * | "semaphore.flagged": said, not yet asleep | one who never sleeps      | the next release wakes nobody             |
 */
#ifndef PP_SEMAPHORE_H
#define PP_SEMAPHORE_H

#include "core/pp_chunk.h"
#include "core/pp_wait.h"

#define PP_MAX_TOKENS 32
#define PP_VALUE_MAX 0x7fffffffu

/* A process's side: what it is stands here as well, since others may write over what stands in the cell. */
struct pp_semaphore {
    struct pp_chunk *chunk;
    struct pp_cell *cell;
    uint32_t tokens;  /* words */
    uint32_t bounded; /* 0, or the most that `count` may be + 1 */
};

/* Bytes that a semaphore of `value` needs, and how to make one in zeroed cells. */
size_t pp_semaphore_size(uint32_t value);
void pp_semaphore_make(struct pp_semaphore *semaphore, struct pp_chunk *chunk, struct pp_cell *cell, uint32_t value,
                       int bounded);

/* Use one that came from elsewhere. 0 if its tokens are not inside its chunk. */
int pp_semaphore_adopt(struct pp_semaphore *semaphore, struct pp_chunk *chunk, uint32_t offset);

/* `bracket`: it will be given back by who takes it. */
enum pp_answer pp_semaphore_try(struct pp_semaphore *semaphore, int bracket);
enum pp_answer pp_semaphore_wait(struct pp_semaphore *semaphore, int bracket, struct pp_wait *wait);

/* 0, or -1: a bounded one has all its tokens, or the count would overflow. */
int pp_semaphore_release(struct pp_semaphore *semaphore, int bracket);

uint32_t pp_semaphore_value(struct pp_semaphore *semaphore);

#endif
