#define _GNU_SOURCE
#include "core/pp_chunk.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/pp_crash.h"
#include "core/pp_memfd.h"
#include "core/pp_page.h"

#define MAGIC 0x70706368u
#define LAYOUT 2
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
static pthread_mutex_t guard = PTHREAD_MUTEX_INITIALIZER;

void pp_chunk_reborn(void) { pthread_mutex_init(&guard, NULL); }

static struct pp_chunk *add(struct pp_chunk_page *page, size_t size, int fd, struct pp_registry *registry)
{
    struct pp_chunk *chunk = calloc(1, sizeof *chunk);
    if (chunk == NULL) {
        return NULL;
    }
    chunk->page = page;
    chunk->registry = registry;
    chunk->size = size;
    chunk->fd = fd;
    chunk->handles = 1;
    memcpy(chunk->id, page->id, PP_ID_SIZE);
    chunk->next = chunks;
    chunks = chunk;
    return chunk;
}

static struct pp_chunk *make(size_t size, uint64_t behind)
{
    static int handles_fork; /* a fact about this process */
    if (!handles_fork) {
        handles_fork = pthread_atfork(NULL, NULL, pp_chunk_reborn) == 0;
    }
    size = pp_whole_pages(size); /* what lies behind is mapped by itself */
    struct pp_registry *registry = pp_registry_own();
    int fd = registry == NULL ? -1 : pp_memfd("polyproc-chunk", size, behind);
    if (fd < 0) {
        return NULL;
    }
    struct pp_chunk_page *page = pp_memfd_map(fd, size);
    struct pp_chunk *chunk = NULL;
    if (page != NULL && pp_random(page->id, PP_ID_SIZE) == 0) {
        page->magic = MAGIC;
        page->layout = LAYOUT;
        memcpy(page->registry_id, registry->id, PP_ID_SIZE);
        page->extent = size;
        pp_store64(&page->bump, sizeof *page);
        chunk = add(page, size, fd, registry);
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

static uint32_t take_from(struct pp_chunk *chunk, size_t size, enum pp_kind kind)
{
    /* Two processes that share a chunk by fork both take from it. */
    uint64_t offset = __atomic_fetch_add((uint64_t *)&chunk->page->bump, size, __ATOMIC_SEQ_CST);
    if (offset < sizeof *chunk->page || offset > chunk->size - size || offset % PP_CELL_SIZE != 0) {
        return 0;
    }
    PP_CRASH_POINT("chunk.bumped");
    struct pp_cell *cell = (struct pp_cell *)((char *)chunk->page + offset);
    pp_store(&cell->kind, kind);
    return (uint32_t)offset;
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
    munmap(chunk->page, chunk->size);
    close(chunk->fd);
    free(chunk);
}

uint32_t pp_chunk_take(size_t size, enum pp_kind kind, struct pp_chunk **chunk)
{
    uint32_t offset = 0;
    if (size > LARGEST) {
        errno = ENOMEM;
        return 0;
    }
    size = (size + PP_CELL_SIZE - 1) / PP_CELL_SIZE * PP_CELL_SIZE;
    pthread_mutex_lock(&guard);
    if (size >= LARGE) {
        struct pp_chunk *own = make(sizeof(struct pp_chunk_page) + size, 0);
        if (own != NULL) {
            offset = take_from(own, size, kind);
            *chunk = own;
        }
    } else {
        if (current != NULL) {
            offset = take_from(current, size, kind);
        }
        if (offset == 0) {
            struct pp_chunk *fresh = make(USUAL_SIZE, 0);
            if (fresh != NULL) {
                if (current != NULL) {
                    drop(current);
                }
                current = fresh;
                offset = take_from(current, size, kind);
            }
        }
        if (offset != 0) {
            current->handles++;
            *chunk = current;
        }
    }
    pthread_mutex_unlock(&guard);
    return offset;
}

uint32_t pp_chunk_take_own(size_t size, uint64_t behind, enum pp_kind kind, struct pp_chunk **chunk)
{
    uint32_t offset = 0;
    pthread_mutex_lock(&guard);
    struct pp_chunk *own = make(sizeof(struct pp_chunk_page) + size, behind);
    if (own != NULL) {
        offset = take_from(own, size, kind);
        *chunk = own;
    }
    pthread_mutex_unlock(&guard);
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
    pthread_mutex_lock(&guard);
    struct pp_chunk *chunk = find(id);
    pthread_mutex_unlock(&guard);
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
    pthread_mutex_lock(&guard);
    if (page->magic == MAGIC && page->layout == LAYOUT && memcmp(page->registry_id, registry->id, PP_ID_SIZE) == 0) {
        chunk = find(page->id);
        if (chunk == NULL) {
            int own = fcntl(fd, F_DUPFD_CLOEXEC, 3);
            chunk = own < 0 ? NULL : add(page, size, own, registry);
            error = errno;
            if (chunk != NULL) {
                page = NULL;
            } else if (own >= 0) {
                close(own);
            }
        }
    }
    pthread_mutex_unlock(&guard);
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
    pthread_mutex_lock(&guard);
    drop(chunk);
    pthread_mutex_unlock(&guard);
}
