/* Semaphore: tokens that know their holders, so that those of a dead process can be given back.
 *
 *   cell: max = number of tokens, count = tokens of nobody, value = sequence to sleep on, wflag
 *   then max words, one a token:   0 free | holder's tag | holder's tag + BRACKET (taken by `with`)
 *
 *   acquire: a free word: CAS 0 -> me; else count: CAS n -> n-1; else sleep
 *   release: my own word -> 0; else somebody's that is not BRACKET -> 0; else, bounded: any -> 0, or an error;
 *            not bounded: count + 1
 *
 * Taking a token is one CAS: no journal, nothing to repair. A dead holder's token is taken over by who finds none free, if
 * it was sure to be given back: one taken by `with`, or any of a bounded semaphore. Acquiring a plain semaphore without
 * ever releasing it is how producers tell consumers of something; such a token stays taken.
 *
 * More than 32 tokens are a plain count, without recovery: `max` is 0, and `count` holds them all.
 *
 * | SIGKILL at                            | left behind                  | repaired by                               |
 * |---------------------------------------|------------------------------|-------------------------------------------|
 * | "semaphore.taken"                     | a token with a dead tag      | who finds none free                       |
 * | "semaphore.freed": before the wake-up | a free token, sleepers       | their tick                                |
 * | "semaphore.woken": before its CAS     | the same                     | the same                                  |
 */
#ifndef PP_SEMAPHORE_H
#define PP_SEMAPHORE_H

#include "core/pp_lock.h"

#define PP_MOST_TOKENS 32
#define PP_VALUE_MAX 0x7fffffffu

/* Bytes that a semaphore of `value` needs, and how to make one in zeroed cells. */
size_t pp_semaphore_size(uint32_t value);
void pp_semaphore_init(struct pp_cell *cell, uint32_t value, int bounded);

/* Whether a cell that came from elsewhere has room for its tokens. */
int pp_semaphore_check(struct pp_chunk *chunk, uint32_t offset);

/* `bracket`: it will be given back by who takes it. */
enum pp_answer pp_semaphore_try(struct pp_chunk *chunk, struct pp_cell *cell, int bracket);
enum pp_answer pp_semaphore_wait(struct pp_chunk *chunk, struct pp_cell *cell, int bracket, struct pp_wait *wait);

/* 0, or -1: a bounded one has all its tokens, or the count would overflow. */
int pp_semaphore_release(struct pp_chunk *chunk, struct pp_cell *cell, int bracket);

uint32_t pp_semaphore_value(struct pp_cell *cell);

#endif
