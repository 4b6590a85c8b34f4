/* Plain shared memory: a cell that says how many bytes follow it. What a program stores there is the program's. */
#ifndef PP_MEMORY_H
#define PP_MEMORY_H

#include "core/pp_chunk.h"

static inline size_t pp_memory_size(struct pp_cell *cell) { return (size_t)pp_load64(&cell->tid); }
static inline void *pp_memory_bytes(struct pp_cell *cell) { return cell + 1; }

/* Whether the bytes of a cell that came from elsewhere lie inside its chunk. */
static inline int pp_memory_check(struct pp_chunk *chunk, uint32_t offset)
{
    struct pp_cell *cell = pp_chunk_cell(chunk, offset, PP_MEMORY, sizeof *cell);
    return cell != NULL && pp_memory_size(cell) <= chunk->size - offset - sizeof *cell;
}

#endif
