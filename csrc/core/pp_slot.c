#define _GNU_SOURCE
#include "core/pp_slot.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "core/pp_crash.h"
#include "core/pp_facts.h"
#include "core/pp_page.h"

#define WARM_SLOTS 8u
#define BELIEVED ((uint64_t)1 << 24)
#define WARM_BYTES ((uint64_t)64 << 20)
#define NEVER 0x7fffffffu /* a holder that does not die: what a failed copy at a fork left to its readers */

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

static uint64_t word_of(uint32_t tag, uint32_t item) { return pp_pack64(item, tag); }

/* Whether nobody needs a slot. The order matters: a holder that was seen to be dead puts no item in any more. */
static int is_free(struct pp_queue *queue, uint64_t word)
{
    uint32_t tag = pp_place(word);
    if (word == 0) {
        return 1;
    }
    if (tag == NEVER || tag == pp_me(queue->chunk->registry) || !pp_is_dead(queue->chunk->registry, tag)) {
        return 0;
    }
    uint32_t head = pp_items(pp_load64(&queue->page->head));
    uint32_t tail = pp_items(pp_load64(&queue->page->tail));
    return pp_items(word) - head >= tail - head;
}

static void punch(struct pp_queue *queue, int64_t slot)
{
    if (fallocate(pp_chunk_fd(queue->chunk), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, pp_slot_at(queue, slot),
                  (off_t)queue->slot_size) == 0) {
        pp_store64(&queue->page->slots[slot].size, 0); /* killed here: it counts as warm until it is used again */
    }
}

/* Look at two more: the memory of the dead comes back, wherever it is. */
static void sweep(struct pp_queue *queue)
{
    for (int i = 0; i < 2; i++) {
        uint32_t slot = pp_load(&queue->page->swept);
        if (slot >= queue->slots_there || slot >= pp_load(&queue->page->slots_ever)) {
            slot = 0;
        }
        pp_store(&queue->page->swept, slot + 1); /* killed here: the next look is at the next */
        uint64_t word = pp_load64(&queue->page->slots[slot].holder);
        uint32_t me = pp_tag(queue->chunk->registry);
        uint64_t ours = word_of(me, pp_items(word));
        /* Killed here: its holder is as dead as before. */
        if (word != 0 && is_free(queue, word) && pp_cas64(&queue->page->slots[slot].holder, word, ours)) {
            pp_slot_give(queue, slot);
        }
    }
}

int64_t pp_slot_reserve(struct pp_queue *queue, uint64_t size)
{
    uint32_t me = pp_tag(queue->chunk->registry);
    if (me == 0) {
        return -1;
    }
    if (size > queue->slot_size) {
        errno = EMSGSIZE;
        return -1;
    }
    sweep(queue);
    for (uint32_t slot = 0; slot < queue->slots_there; slot++) {
        struct pp_slot *place = &queue->page->slots[slot];
        uint64_t word = pp_load64(&place->holder);
        uint32_t before = pp_items(pp_load64(&queue->page->head)) - 1;
        if (is_free(queue, word) && pp_cas64(&place->holder, word, word_of(me, before))) {
            PP_CRASH_POINT("slot.taken");
            if (slot >= pp_load(&queue->page->slots_ever)) {
                /* Two at once: the sweep misses one, until the next. Killed here, or before: it has no memory yet. */
                pp_store(&queue->page->slots_ever, slot + 1);
            }
            if (pp_load64(&place->size) < size) {
                pp_store64(&place->size, pp_whole_pages(size)); /* killed here: it counts for more than it has */
            }
            return slot;
        }
    }
    errno = ENOSPC;
    return -1;
}

int64_t pp_slot_write(struct pp_queue *queue, int64_t slot, uint64_t offset, const void *bytes, uint64_t count)
{
    if (offset > queue->slot_size || count > queue->slot_size - offset) {
        errno = EMSGSIZE;
        return -1;
    }
    ssize_t written = pwrite(pp_chunk_fd(queue->chunk), bytes, count < ((size_t)1 << 30) ? count : (size_t)1 << 30,
                             pp_slot_at(queue, slot) + (off_t)offset);
    PP_CRASH_POINT("slot.filled");
    return written;
}

int pp_slot_has(struct pp_queue *queue, int64_t slot, uint64_t size)
{
    if (size <= BELIEVED) {
        return 1;
    }
    off_t hole = lseek(pp_chunk_fd(queue->chunk), (off_t)pp_slot_at(queue, slot), SEEK_HOLE);
    return hole < 0 ? errno != ENXIO : (uint64_t)(hole - (off_t)pp_slot_at(queue, slot)) >= size;
}

void pp_slot_send(struct pp_queue *queue, int64_t slot, uint32_t item)
{
    pp_store64(&queue->page->slots[slot].holder, word_of(pp_tag(queue->chunk->registry), item));
    PP_CRASH_POINT("slot.sent");
}

void pp_slot_receive(struct pp_queue *queue, int64_t slot, uint32_t item)
{
    pp_store64(&queue->page->slots[slot].holder, word_of(pp_tag(queue->chunk->registry), item));
    PP_CRASH_POINT("slot.received");
}

void pp_slot_give(struct pp_queue *queue, int64_t slot)
{
    struct pp_slot *place = &queue->page->slots[slot];
    uint64_t word = pp_load64(&place->holder);
    uint32_t me = pp_me(queue->chunk->registry);
    if (me == 0 || pp_place(word) != me) {
        return; /* a forked child's: it is its parent's to give */
    }
    uint64_t warm = 0;
    for (uint32_t i = 0; i < WARM_SLOTS && i < queue->slots_there; i++) {
        warm += pp_load64(&queue->page->slots[i].size);
    }
    if (slot >= WARM_SLOTS || warm > WARM_BYTES) {
        punch(queue, slot);
    }
    pp_cas64(&place->holder, word, 0);
    PP_CRASH_POINT("slot.given");
}

uint64_t pp_slot_memory(struct pp_queue *queue)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < queue->slots_there && i < pp_load(&queue->page->slots_ever); i++) {
        sum += pp_load64(&queue->page->slots[i].size);
    }
    return sum;
}

/* -- views -- */

static struct pp_view *views; /* a fact about this process: what it has mapped */

/* Make each page the process's own. Writing to it does, and nobody who writes there at this moment loses anything: the
 * kernel copies a page when it is first written to, and a write of nothing by an atomic operation counts. */
static int own_pages(struct pp_view *view)
{
    if (madvise(view->bytes, view->size, MADV_POPULATE_WRITE) == 0) {
        return 1;
    }
    if (errno != EINVAL) { /* ENOMEM */
        return 0;
    }
    for (size_t at = 0; at < view->size; at += pp_page_size()) { /* Linux before 5.14 */
        /* Killed here: this is memory of the process alone. */
        __atomic_fetch_or(view->bytes + at, 0, __ATOMIC_RELAXED);
    }
    return 1;
}

/* Before a fork: a child would see what the next holder of the slot writes there, so the memory becomes ours, and then
 * by the fork the child's. */
static void before_fork(void)
{
    pthread_mutex_lock(&pp_facts->view_guard);
    for (struct pp_view *view = views; view != NULL; view = view->next) {
        if (view->slot >= 0) {
            if (own_pages(view)) {
                pp_slot_give(view->queue, view->slot);
            } else {
                pp_store64(&view->queue->page->slots[view->slot].holder, NEVER); /* killed here: no child has it */
            }
            view->slot = -1;
        }
    }
}

static void after_fork(void) { pthread_mutex_unlock(&pp_facts->view_guard); }

int pp_view_map(struct pp_view *view, struct pp_queue *queue, int64_t slot, size_t size)
{
    static int handles_fork; /* a fact about this process */
    size = pp_whole_pages(size);
    if (slot < 0 || slot >= queue->slots_there || size == 0 || size > queue->slot_size) {
        errno = PP_WRITTEN_OVER;
        return 0;
    }
    char *bytes = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE, pp_chunk_fd(queue->chunk), pp_slot_at(queue, slot));
    if (bytes == MAP_FAILED) {
        return 0;
    }
    pthread_mutex_lock(&pp_facts->view_guard);
    if (!handles_fork) {
        handles_fork = pthread_atfork(before_fork, after_fork, NULL) == 0;
    }
    *view = (struct pp_view){views, NULL, queue, slot, bytes, size};
    if (views != NULL) {
        views->before = view;
    }
    views = view;
    pthread_mutex_unlock(&pp_facts->view_guard);
    return 1;
}

void pp_view_unmap(struct pp_view *view)
{
    pthread_mutex_lock(&pp_facts->view_guard);
    if (view->next != NULL) {
        view->next->before = view->before;
    }
    if (view->before != NULL) {
        view->before->next = view->next;
    } else {
        views = view->next;
    }
    munmap(view->bytes, view->size);
    if (view->slot >= 0) {
        pp_slot_give(view->queue, view->slot);
    }
    pthread_mutex_unlock(&pp_facts->view_guard);
}
