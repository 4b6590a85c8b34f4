/* Plain shared memory: a cell that says how many bytes follow it. What a program stores there is the program's. */
#ifndef PP_MEMORY_H
#define PP_MEMORY_H

#include "core/pp_chunk.h"

static inline void *pp_memory_bytes(struct pp_cell *cell) { return cell + 1; }

/* Whether the bytes of a cell that came from elsewhere lie inside its chunk, and how many they are: read this once, since
 * somebody may write to it. */
static inline int pp_memory_check(struct pp_chunk *chunk, uint32_t offset, size_t *size)
{
    struct pp_cell *cell = pp_chunk_cell(chunk, offset, PP_MEMORY, sizeof *cell);
    *size = cell == NULL ? 0 : (size_t)pp_load64(&cell->memory.size);
    return cell != NULL && *size <= chunk->size - offset - sizeof *cell;
}

#endif
