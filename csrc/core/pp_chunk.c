#define _GNU_SOURCE
#include "core/pp_chunk.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/pp_crash.h"
#include "core/pp_facts.h"
#include "core/pp_memfd.h"
#include "core/pp_page.h"

#define MAGIC 0x70706368u
#define LAYOUT 3
#define USUAL_SIZE 65536u
#define LARGE 16384u /* from this size on an object has a chunk of its own */
#define LARGEST ((size_t)1 << 46)

struct pp_chunk_page {
    uint32_t magic;
    uint32_t layout;
    unsigned char id[PP_ID_SIZE];
    unsigned char registry_id[PP_ID_SIZE];
    pp_word64 bump;   /* the first byte that is not given out */
    uint64_t extent;  /* the bytes that every process maps, whole pages; the file may be longer */
    unsigned char unused[8];
};

_Static_assert(sizeof(struct pp_chunk_page) == PP_CELL_SIZE, "the header is one cell");

static struct pp_chunk *chunks;
static struct pp_chunk *current; /* where the next object goes; holds a handle */

static void lock_list(void) { pthread_mutex_lock(&pp_facts->chunk_guard); }

static void unlock_list(void) { pthread_mutex_unlock(&pp_facts->chunk_guard); }

static struct pp_chunk *add(struct pp_chunk_page *page, const unsigned char *id, size_t size, int fd,
                            struct pp_registry *registry)
{
    struct pp_chunk *chunk = calloc(1, sizeof *chunk);
    if (chunk == NULL) {
        return NULL;
    }
    chunk->page = page;
    chunk->registry = registry;
    chunk->tenant = registry->tenant;
    chunk->size = size;
    pp_fd_own(&chunk->fd, fd);
    chunk->handles = 1;
    memcpy(chunk->id, id, PP_ID_SIZE);
    chunk->next = chunks;
    chunks = chunk;
    return chunk;
}

static struct pp_chunk *make(size_t size, uint64_t behind)
{
    size = pp_whole_pages(size); /* what lies behind is mapped by itself */
    struct pp_registry *registry = pp_registry_own();
    int fd = registry == NULL ? -1 : pp_memfd("polyproc-chunk", size, behind);
    if (fd < 0) {
        return NULL;
    }
    struct pp_chunk_page *page = pp_memfd_map(fd, size);
    struct pp_chunk *chunk = NULL;
    if (page != NULL && pp_random(page->id, PP_ID_SIZE) == 0) {
        /* killed here: nobody else has it yet */
        page->magic = MAGIC;
        page->layout = LAYOUT;
        memcpy(page->registry_id, registry->id, PP_ID_SIZE);
        page->extent = size;
        pp_store64(&page->bump, sizeof *page);
        chunk = add(page, page->id, size, fd, registry);
    }
    if (chunk == NULL) {
        int error = errno;
        if (page != NULL) {
            munmap(page, size);
        }
        close(fd);
        errno = error;
    }
    return chunk;
}

static uint32_t alloc_from(struct pp_chunk *chunk, size_t size, enum pp_kind kind)
{
    /* Two processes that share a chunk by fork both take from it. */
    uint64_t offset = __atomic_fetch_add((uint64_t *)&chunk->page->bump, size, __ATOMIC_SEQ_CST);
    if (offset < sizeof *chunk->page || offset > chunk->size - size || offset % PP_CELL_SIZE != 0) {
        return 0;
    }
    PP_CRASH_POINT("chunk.bumped");
    struct pp_cell *cell = (struct pp_cell *)((char *)chunk->page + offset);
    pp_store(&cell->kind, kind); /* killed here: as at "chunk.bumped" */
    return (uint32_t)offset;
}

#define BITS 32u

static void hand_over(struct pp_chunk *chunk)
{
    uint32_t me = pp_load_own(&chunk->tenant->me);
    uint32_t cells = chunk->noted == NULL || me == 0 ? 0 : (uint32_t)(chunk->size / PP_CELL_SIZE);
    for (uint32_t i = 0; i < cells; i++) {
        if ((pp_load_own(&chunk->noted[i / BITS]) >> i % BITS & 1) == 0) {
            continue;
        }
        pp_word *word = &((struct pp_cell *)(void *)chunk->page + i)->word;
        uint32_t now = pp_load(word);
        while ((now & PP_TAG_MASK) == me) {
            if (pp_cas(word, now, (now & PP_TAG_WAITERS) | PP_TAG_HANDED)) {
                PP_CRASH_POINT("lock.handed");
            }
            now = pp_load(word);
        }
    }
}

static void drop(struct pp_chunk *chunk)
{
    if (--chunk->handles != 0) {
        return;
    }
    for (struct pp_chunk **place = &chunks; *place != NULL; place = &(*place)->next) {
        if (*place == chunk) {
            *place = chunk->next;
            break;
        }
    }
    hand_over(chunk);
    munmap(chunk->page, chunk->size);
    pp_fd_close(&chunk->fd);
    free((void *)chunk->noted);
    free(chunk);
}

/* A look at a descriptor costs as much as an object: one each tick of the system's clock will do. */
static int is_time_to_look(void)
{
    static struct timespec looked; /* a fact about this process; a forked child looks at its first tick */
    struct timespec now;
    if (clock_gettime(CLOCK_MONOTONIC_COARSE, &now) == 0 && now.tv_sec == looked.tv_sec && now.tv_nsec == looked.tv_nsec) {
        return 0;
    }
    looked = now;
    return 1;
}

uint32_t pp_chunk_alloc(size_t size, enum pp_kind kind, struct pp_chunk **chunk)
{
    uint32_t offset = 0;
    if (size > LARGEST) {
        errno = ENOMEM;
        return 0;
    }
    size = (size + PP_CELL_SIZE - 1) / PP_CELL_SIZE * PP_CELL_SIZE;
    lock_list();
    if (size >= LARGE) {
        struct pp_chunk *own = make(sizeof(struct pp_chunk_page) + size, 0);
        if (own != NULL) {
            offset = alloc_from(own, size, kind);
            *chunk = own;
        }
    } else {
        if (current != NULL && is_time_to_look() && pp_chunk_fd(current) < 0) { /* what is in it could not be sent */
            drop(current);
            current = NULL;
        }
        if (current != NULL) {
            offset = alloc_from(current, size, kind);
        }
        if (offset == 0) {
            struct pp_chunk *fresh = make(USUAL_SIZE, 0);
            if (fresh != NULL) {
                if (current != NULL) {
                    drop(current);
                }
                current = fresh;
                offset = alloc_from(current, size, kind);
            }
        }
        if (offset != 0) {
            current->handles++;
            *chunk = current;
        }
    }
    unlock_list();
    return offset;
}

uint32_t pp_chunk_alloc_own(size_t size, uint64_t behind, enum pp_kind kind, struct pp_chunk **chunk)
{
    uint32_t offset = 0;
    lock_list();
    struct pp_chunk *own = make(sizeof(struct pp_chunk_page) + size, behind);
    if (own != NULL) {
        offset = alloc_from(own, size, kind);
        *chunk = own;
    }
    unlock_list();
    return offset;
}

static struct pp_chunk *find(const unsigned char *id)
{
    struct pp_chunk *chunk = chunks;
    while (chunk != NULL && memcmp(chunk->id, id, PP_ID_SIZE) != 0) {
        chunk = chunk->next;
    }
    if (chunk != NULL) {
        chunk->handles++;
    }
    return chunk;
}

struct pp_chunk *pp_chunk_find(const unsigned char *id)
{
    lock_list();
    struct pp_chunk *chunk = find(id);
    unlock_list();
    return chunk;
}

struct pp_chunk *pp_chunk_attach(int fd, int registry_fd)
{
    struct stat info;
    struct pp_registry *registry = pp_registry_attach(registry_fd);
    if (registry == NULL || fstat(fd, &info) != 0) {
        return NULL;
    }
    struct pp_chunk_page *page = pp_memfd_map(fd, sizeof *page);
    if (page == NULL) {
        return NULL;
    }
    uint64_t extent = *(volatile uint64_t *)&page->extent; /* read once: somebody may write to it */
    int ours = page->magic == MAGIC && page->layout == LAYOUT;
    munmap(page, sizeof *page);
    if (!ours || extent < sizeof *page || !pp_begins_page((size_t)extent) || extent > (uint64_t)info.st_size || extent > LARGEST) {
        errno = EINVAL;
        return NULL;
    }
    size_t size = (size_t)extent;
    page = pp_memfd_map(fd, size);
    if (page == NULL) {
        return NULL;
    }
    struct pp_chunk *chunk = NULL;
    int error = EINVAL;
    lock_list();
    unsigned char id[PP_ID_SIZE];
    memcpy(id, page->id, sizeof id); /* once, too */
    if (page->magic == MAGIC && page->layout == LAYOUT && memcmp(page->registry_id, registry->id, PP_ID_SIZE) == 0) {
        chunk = find(id);
        if (chunk == NULL) {
            int own = fcntl(fd, F_DUPFD_CLOEXEC, 3);
            chunk = own < 0 ? NULL : add(page, id, size, own, registry);
            error = errno;
            if (chunk != NULL) {
                page = NULL;
            } else if (own >= 0) {
                close(own);
            }
        }
    }
    unlock_list();
    if (page != NULL) {
        munmap(page, size);
    }
    errno = error;
    return chunk;
}

struct pp_cell *pp_chunk_cell(struct pp_chunk *chunk, uint32_t offset, enum pp_kind kind, size_t size)
{
    if (offset < sizeof(struct pp_chunk_page) || offset % PP_CELL_SIZE != 0 || size < sizeof(struct pp_cell)
        || offset > chunk->size || size > chunk->size - offset) {
        return NULL;
    }
    struct pp_cell *cell = (struct pp_cell *)((char *)chunk->page + offset);
    return pp_load(&cell->kind) == (uint32_t)kind ? cell : NULL;
}

void pp_chunk_drop(struct pp_chunk *chunk)
{
    lock_list();
    drop(chunk);
    unlock_list();
}

int pp_chunk_note(struct pp_chunk *chunk, uint32_t offset)
{
    uint32_t i = offset / PP_CELL_SIZE;
    if (chunk->size > USUAL_SIZE) {
        return 1; /* no Lock of ours is in one of these */
    }
    lock_list();
    if (chunk->noted == NULL) {
        chunk->noted = calloc(chunk->size / PP_CELL_SIZE / BITS + 1, sizeof *chunk->noted);
    }
    int done = chunk->noted != NULL;
    if (done) {
        pp_store_own(&chunk->noted[i / BITS], pp_load_own(&chunk->noted[i / BITS]) | 1u << i % BITS);
    }
    unlock_list();
    return done;
}

void pp_chunk_hand_over(void)
{
    lock_list();
    for (struct pp_chunk *chunk = chunks; chunk != NULL; chunk = chunk->next) {
        hand_over(chunk);
    }
    unlock_list();
}
