/* The segments of a queue: see pp_queue.h. A place is counted in units of 8 bytes from the first segment on. */
#ifndef PP_QUEUE_BLOCK_H
#define PP_QUEUE_BLOCK_H

#include "core/pp_queue_layout.h"

#define PP_UNIT 8u
#define PP_UNITS (PP_SEGMENT / PP_UNIT)
#define PP_SEGMENT_USED 0x80000000u
#define PP_SEGMENT_NEXT 0x0001ffffu

/* The first unit of a record. The seal tells a page that was written over. */
#define PP_SEAL 0x51u
#define PP_HEADER(kind, length, tag) \
    ((uint64_t)(length) | (uint64_t)(kind) << 32 | (uint64_t)((tag) & 0xffffu) << 40 | (uint64_t)PP_SEAL << 56)

/* Where a place is mapped; NULL and errno without address space. */
char *pp_queue_block_address(struct pp_queue *queue, uint32_t place);
void pp_queue_block_unmap(struct pp_queue *queue);

/* Reserve memory up to `end` units of a segment, so that writing there cannot fail (SIGBUS). 0 and errno. */
int pp_queue_block_reserve(struct pp_queue *queue, uint32_t segment, uint32_t end);

/* Make the chain go on in another segment, with a JUMP at `place`; the place there, or -1 and errno. */
int64_t pp_queue_block_chain(struct pp_queue *queue, uint32_t place);

/* A consumer has left it. */
void pp_queue_block_free(struct pp_queue *queue, uint32_t segment);

/* Free those that no chain from head to tail goes through. Both locks are held. */
void pp_queue_block_sweep(struct pp_queue *queue);

#endif
