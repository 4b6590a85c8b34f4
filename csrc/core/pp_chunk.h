/* Where shared objects live: 64-byte cells in anonymous files that processes map.
 *
 *   chunk (pp_memfd)
 *   +--------------------------------------------+
 *   | header: magic, layout, ids, bump, registry |
 *   | cell 1                                     |   pp_cell.h
 *   | ...                                        |
 *   +--------------------------------------------+
 *
 * Cells are given out in order and, once another process may have them, never again: a forked child inherits handles
 * without running code, so nobody can count them. A process counts its own handles to a chunk; without any it unmaps
 * it, and the kernel frees the memory when the last process has, or is dead. There are no names, and nothing to clean.
 *
 * What a dead process leaves behind: killed after it moved the bump ("chunk.bumped"), one cell until the chunk goes.
 */
#ifndef PP_CHUNK_H
#define PP_CHUNK_H

#include <stddef.h>
#include <stdint.h>

#include "core/pp_cell.h"
#include "core/pp_fd.h"
#include "core/pp_registry.h"

#define PP_ID_SIZE 16

/* A process's side of a chunk. Handles are counted; the list of chunks is a fact about what it has mapped, which a forked
 * child has, too. */
struct pp_chunk {
    struct pp_chunk *next;
    struct pp_chunk_page *page;
    struct pp_registry *registry;
    struct pp_tenant *tenant; /* the registry's: who this process is */
    pp_word *noted;           /* bits of those cells that are Locks which this process has taken; NULL for none */
    size_t size;
    struct pp_fd fd;
    uint32_t handles;
    unsigned char id[PP_ID_SIZE];
};

/* Its descriptor, to be used at once: -1 and EBADF if a program has closed it, and it cannot be had again. */
static inline int pp_chunk_fd(struct pp_chunk *chunk) { return pp_fd_of(&chunk->fd, chunk->page); }

/* Take `size` bytes of cells for an object of a kind; the rest of the cell is zero. Counts a handle to *chunk. Returns the
 * offset of the cell, or 0 and errno (ENOMEM, EMFILE). What is large gets a chunk of its own. */
uint32_t pp_chunk_alloc(size_t size, enum pp_kind kind, struct pp_chunk **chunk);

/* Take `size` bytes in a chunk of its own, with `behind` bytes of its file that no process maps by having the chunk. */
uint32_t pp_chunk_alloc_own(size_t size, uint64_t behind, enum pp_kind kind, struct pp_chunk **chunk);

/* The chunk with an id, if this process has it mapped; counts a handle. */
struct pp_chunk *pp_chunk_find(const unsigned char *id);

/* Map a chunk that came from another process, with its registry; duplicates of the descriptors are kept. Counts a
 * handle. NULL and errno: EINVAL for what is none of ours. */
struct pp_chunk *pp_chunk_attach(int fd, int registry_fd);

/* The cell at an offset that came from another process, checked to lie inside and to be of the kind, with `size` bytes
 * behind its start; NULL if it is not. */
struct pp_cell *pp_chunk_cell(struct pp_chunk *chunk, uint32_t offset, enum pp_kind kind, size_t size);

/* Count a handle less; without any the chunk is unmapped. */
void pp_chunk_drop(struct pp_chunk *chunk);

/* Note that this process takes the Lock at an offset, once and for all. Whether it was noted: not without memory. */
int pp_chunk_note(struct pp_chunk *chunk, uint32_t offset);

/* At an orderly end: a process that still holds Locks may mean to, since any other may release them. Their tag becomes
 * PP_TAG_HANDED, which never dies, and the process's own is free. The same happens to the locks in memory that a process
 * lets go of, since it cannot give them back itself any more. Killed in between ("lock.handed"): the rest are a dead
 * owner's. */
void pp_chunk_hand_over(void);

#endif
