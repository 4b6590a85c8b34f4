#define _GNU_SOURCE
#include "core/pp_queue_block.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>

#include "core/pp_crash.h"
#include "core/pp_memfd.h"

#define STEP 65536u /* memory is reserved in such steps */
#define STEP_SHIFT 28
#define WINDOW ((size_t)PP_SEGMENT * (PP_SEGMENTS / PP_WINDOWS))
#define WARM 4u /* segments that keep their memory */

char *pp_queue_block_address(struct pp_queue *queue, uint32_t place)
{
    size_t at = (size_t)place * PP_UNIT;
    uint32_t window = (uint32_t)(at / WINDOW);
    char *start = queue->windows[window];
    if (start == NULL) {
        off_t offset = (off_t)(queue->chunk->size + window * WINDOW);
        start = mmap(NULL, WINDOW, PROT_READ | PROT_WRITE, MAP_SHARED, pp_chunk_fd(queue->chunk), offset);
        if (start == MAP_FAILED) {
            return NULL;
        }
        char *before = NULL;
        /* Killed here: this is memory of the process alone. */
        if (!__atomic_compare_exchange_n((char **)&queue->windows[window], &before, start, 0, __ATOMIC_SEQ_CST,
                                         __ATOMIC_SEQ_CST)) {
            munmap(start, WINDOW); /* another thread was faster */
            start = before;
        }
    }
    return start + at % WINDOW;
}

void pp_queue_block_unmap(struct pp_queue *queue)
{
    for (uint32_t i = 0; i < PP_WINDOWS; i++) {
        if (queue->windows[i] != NULL) {
            munmap(queue->windows[i], WINDOW);
        }
    }
}

int pp_queue_block_reserve(struct pp_queue *queue, uint32_t segment, uint32_t end)
{
    pp_word *word = &queue->page->segments[segment];
    uint32_t now = pp_load(word);
    uint32_t has = now >> STEP_SHIFT & 7, needs = (end * PP_UNIT + STEP - 1) / STEP;
    if (has >= needs) {
        return 1;
    }
    uint64_t start = queue->chunk->size + (uint64_t)segment * PP_SEGMENT + has * STEP;
    while (pp_reserve(pp_chunk_fd(queue->chunk), start, (uint64_t)(needs - has) * STEP) != 0) {
        if (errno != EINTR) {
            return 0;
        }
    }
    pp_store(word, (now & ~(7u << STEP_SHIFT)) | needs << STEP_SHIFT); /* killed here: what is reserved is reserved again */
    return 1;
}

static int64_t find(struct pp_queue *queue)
{
    struct pp_queue_page *page = queue->page;
    uint32_t start = pp_load(&page->free_segment) % PP_SEGMENTS;
    for (uint32_t i = 0; i < PP_SEGMENTS; i++) {
        uint32_t segment = (start + i) % PP_SEGMENTS;
        uint32_t word = pp_load(&page->segments[segment]);
        if ((word & PP_SEGMENT_USED) == 0) {
            if (segment >= pp_load(&page->segments_ever)) {
                pp_store(&page->segments_ever, segment + 1); /* killed here: one more to sweep, which is free */
            }
            pp_store(&page->segments[segment], (word | PP_SEGMENT_USED) & ~PP_SEGMENT_NEXT);
            PP_CRASH_POINT("queue.marked");
            pp_store(&page->free_segment, segment + 1); /* killed here: the chain still ends before it, as above */
            return segment;
        }
    }
    errno = ENOSPC;
    return -1;
}

int64_t pp_queue_block_chain(struct pp_queue *queue, uint32_t place)
{
    struct pp_queue_page *page = queue->page;
    char *at = pp_queue_block_address(queue, place);
    int64_t next = at == NULL ? -1 : find(queue);
    if (next < 0) {
        return -1;
    }
    pp_word *word = &page->segments[place / PP_UNITS];
    pp_store(word, (pp_load(word) & ~PP_SEGMENT_NEXT) | (uint32_t)next); /* killed here: no record says that it goes on */
    uint64_t jump = PP_HEADER(PP_JUMP, 0, 0);
    memcpy(at, &jump, sizeof jump);
    PP_CRASH_POINT("queue.chained");
    return next * PP_UNITS;
}

/* What a segment's word becomes when nobody uses it; its memory goes back to the system, but for the first few. */
static uint32_t emptied(struct pp_queue *queue, uint32_t segment, uint32_t word)
{
    if (segment >= WARM) {
        fallocate(pp_chunk_fd(queue->chunk), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                  (off_t)(queue->chunk->size + (uint64_t)segment * PP_SEGMENT), PP_SEGMENT);
        word = 0;
    }
    return word & ~(PP_SEGMENT_USED | PP_SEGMENT_NEXT);
}

void pp_queue_block_free(struct pp_queue *queue, uint32_t segment)
{
    struct pp_queue_page *page = queue->page;
    pp_store(&page->segments[segment], emptied(queue, segment, pp_load(&page->segments[segment])));
    PP_CRASH_POINT("queue.emptied");
    if (segment < pp_load(&page->free_segment)) {
        pp_store(&page->free_segment, segment); /* killed here: only where to begin to look */
    }
}

void pp_queue_block_sweep(struct pp_queue *queue)
{
    struct pp_queue_page *page = queue->page;
    uint32_t reached[PP_SEGMENTS / 32];
    uint32_t last = pp_place(pp_load64(&page->tail)) / PP_UNITS;
    uint32_t now = pp_place(pp_load64(&page->head)) / PP_UNITS;
    memset(reached, 0, sizeof reached);
    for (uint32_t i = 0; i < PP_SEGMENTS; i++) {
        reached[now / 32] |= 1u << now % 32;
        if (now == last) {
            break;
        }
        now = pp_load(&page->segments[now]) & PP_SEGMENT_NEXT;
    }
    for (uint32_t i = 0; i < PP_SEGMENTS && i < pp_load(&page->segments_ever); i++) {
        uint32_t word = pp_load(&page->segments[i]);
        if ((word & PP_SEGMENT_USED) != 0 && (reached[i / 32] & 1u << i % 32) == 0) {
            pp_store(&page->segments[i], emptied(queue, i, word));
            PP_CRASH_POINT("queue.swept");
        }
    }
    pp_store(&page->free_segment, 0); /* killed here: it is swept again */
    pp_store(&page->leaked, 0); /* killed here: all is swept */
}
