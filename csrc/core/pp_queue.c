#define _GNU_SOURCE
#include "core/pp_queue.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/pp_crash.h"
#include "core/pp_futex.h"
#include "core/pp_page.h"
#include "core/pp_segment.h"
#include "core/pp_sleep.h"
#include "core/pp_slot.h"
#include "core/pp_spin.h"

#define GUARD_LIMIT 200000000 /* 0.2 s: longer than any process holds a lock, unless it is stopped */

static void set_up(struct pp_queue *queue, struct pp_chunk *chunk, struct pp_queue_page *page)
{
    memset(queue, 0, sizeof *queue);
    queue->chunk = chunk;
    queue->page = page;
    queue->signal_in = queue->signal_out = -1;
    queue->get_spins = queue->put_spins = queue->lock_spins = PP_SPIN_START;
    queue->slots_at = chunk->size + (uint64_t)PP_SEGMENT * PP_SEGMENTS;
    queue->slot_size = page->slot_size;
    queue->slots_there = page->slots_there;
}

int pp_queue_make(struct pp_queue *queue, uint32_t max, int joinable)
{
    /* The file is sparse. Where the size of a file is limited (setrlimit(2), RLIMIT_FSIZE), slots are smaller. */
    static const uint64_t sizes[] = {1ull << 36, 1ull << 30, 1ull << 24};
    struct pp_chunk *chunk = NULL;
    uint32_t offset = 0;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes && offset == 0; i++) {
        uint64_t behind = (uint64_t)PP_SEGMENT * PP_SEGMENTS + sizes[i] * PP_SLOTS_MOST;
        offset = pp_chunk_take_own(sizeof(struct pp_queue_page), behind, PP_QUEUE, &chunk);
        if (offset != 0) {
            struct pp_queue_page *page = (struct pp_queue_page *)(void *)((char *)chunk->page + offset);
            page->slot_size = sizes[i];
            page->slots_there = PP_SLOTS_MOST;
            pp_store(&page->self.max, max);
            pp_store(&page->self.flags, (uint32_t)joinable);
            pp_store(&page->writers.kind, PP_GUARD);
            pp_store(&page->readers.kind, PP_GUARD);
            pp_store(&page->segments[0], PP_SEGMENT_USED);
            set_up(queue, chunk, page);
        } else if (errno != EFBIG) {
            break;
        }
    }
    return offset != 0;
}

int pp_queue_adopt(struct pp_queue *queue, struct pp_chunk *chunk, uint32_t offset)
{
    struct stat info;
    struct pp_cell *cell = pp_chunk_cell(chunk, offset, PP_QUEUE, sizeof(struct pp_queue_page));
    if (cell == NULL || fstat(chunk->fd, &info) != 0) {
        return 0;
    }
    set_up(queue, chunk, (struct pp_queue_page *)(void *)cell);
    if (queue->slots_there > PP_SLOTS_MOST || queue->slot_size > 1ull << 40 || !pp_begins_page(queue->slot_size)
        || queue->slots_at + queue->slots_there * queue->slot_size > (uint64_t)info.st_size) {
        return 0;
    }
    return 1;
}

void pp_queue_drop(struct pp_queue *queue)
{
    pp_segment_unmap(queue);
    pp_chunk_drop(queue->chunk);
}

/* How many units a record takes, its header among them. */
static uint32_t units_of(const struct pp_record *record)
{
    return 1 + (record->length + PP_UNIT - 1) / PP_UNIT;
}

static int is_empty(struct pp_queue *queue)
{
    return pp_place(pp_load64(&queue->page->head)) == pp_place(pp_load64(&queue->page->tail));
}

uint32_t pp_queue_size(struct pp_queue *queue)
{
    uint32_t taken = pp_items(pp_load64(&queue->page->head));
    return pp_items(pp_load64(&queue->page->tail)) - taken;
}

int pp_queue_is_full(struct pp_queue *queue)
{
    uint32_t max = pp_load(&queue->page->self.max);
    return max != 0 && pp_queue_size(queue) >= max;
}

/* -- the two locks -- */

/* Take a lock, one sleep at the most: PP_DONE, PP_AGAIN, PP_FAILED, PP_TIMED_OUT after 0.2 s and the caller's time. */
static enum pp_answer take(struct pp_queue *queue, struct pp_cell *lock, struct pp_wait *wait)
{
    uint32_t me = pp_tag(queue->chunk->registry);
    if (me == 0) {
        return PP_FAILED;
    }
    if (pp_lock_take(lock, me)) {
        return PP_DONE;
    }
    enum pp_answer answer = pp_lock_try(queue->chunk, lock);
    if (answer == PP_AGAIN && wait != NULL) {
        struct pp_wait guard;
        if (wait->guard == 0) {
            wait->guard = pp_now() + GUARD_LIMIT;
        }
        pp_wait_start(&guard, wait->deadline > wait->guard ? wait->deadline : wait->guard, &queue->lock_spins);
        answer = pp_lock_wait(queue->chunk, lock, &guard);
    }
    if (answer == PP_RECOVERED) {
        pp_store(&queue->page->leaked, 1);
        answer = PP_DONE;
    }
    return answer;
}

static void give(struct pp_queue *queue, struct pp_cell *lock) { pp_lock_release(queue->chunk, lock); }

static int has_items(struct pp_queue *queue) { return !is_empty(queue) || pp_load(&queue->page->ended); }

static int has_room(struct pp_queue *queue) { return !pp_queue_is_full(queue) || pp_load(&queue->page->ended); }

/* -- the descriptor -- */

static void signal_items(struct pp_queue *queue)
{
    if (queue->signal_out >= 0) {
        ssize_t ignored = write(queue->signal_out, "", 1); /* EAGAIN: it is readable enough */
        (void)ignored;
    }
}

/* With the consumers' lock, when it is empty. No producer may be between its token and its record: its lock says so. */
static void drain_signal(struct pp_queue *queue)
{
    char tokens[64];
    if (queue->signal_in < 0 || take(queue, &queue->page->writers, NULL) != PP_DONE) {
        return;
    }
    if (is_empty(queue) && !pp_load(&queue->page->ended)) {
        while (read(queue->signal_in, tokens, sizeof tokens) == (ssize_t)sizeof tokens) {
        }
    }
    give(queue, &queue->page->writers);
}

enum pp_answer pp_queue_poll(struct pp_queue *queue, struct pp_wait *wait)
{
    if (pp_load(&queue->page->polled)) {
        return PP_DONE;
    }
    enum pp_answer answer = take(queue, &queue->page->writers, wait);
    if (answer == PP_DONE) {
        pp_store(&queue->page->polled, 1);
        if (has_items(queue)) {
            signal_items(queue);
        }
        give(queue, &queue->page->writers);
    }
    return answer;
}

/* -- putting -- */

static enum pp_answer push(struct pp_queue *queue, struct pp_record *record)
{
    struct pp_queue_page *page = queue->page;
    uint64_t tail = pp_load64(&page->tail);
    uint32_t place = pp_place(tail), needs = units_of(record);
    if (record->length > PP_RECORD_MOST) {
        errno = EMSGSIZE;
        return PP_FAILED;
    }
    if (place % PP_UNITS + needs + 1 > PP_UNITS) { /* one more, for a jump */
        if (pp_load(&page->leaked) && take(queue, &page->readers, NULL) == PP_DONE) {
            pp_segment_sweep(queue);
            give(queue, &page->readers);
        }
        int64_t next = pp_segment_chain(queue, place);
        if (next < 0) {
            return PP_FAILED;
        }
        place = (uint32_t)next;
    }
    char *at = pp_segment_address(queue, place);
    if (at == NULL || !pp_segment_reserve(queue, place / PP_UNITS, place % PP_UNITS + needs + 1)) {
        pp_store(&page->leaked, 1); /* perhaps the segment that was chained */
        return PP_FAILED;
    }
    uint64_t header = PP_HEADER(record->kind, record->length, record->tag);
    memcpy(at, &header, sizeof header);
    memcpy(at + PP_UNIT, record->bytes, record->length);
    if (pp_is_large(record)) {
        pp_slot_send(queue, record->slot, pp_items(tail));
    }
    PP_CRASH_POINT("queue.written");
    if (pp_load(&page->polled) && is_empty(queue)) {
        signal_items(queue);
        PP_CRASH_POINT("queue.signalled");
    }
    pp_store64(&page->tail, (uint64_t)(pp_items(tail) + 1) << 32 | (place + needs));
    PP_CRASH_POINT("queue.committed");
    return PP_DONE;
}

enum pp_answer pp_queue_put(struct pp_queue *queue, struct pp_record *record, struct pp_wait *wait)
{
    struct pp_queue_page *page = queue->page;
    enum pp_answer answer = take(queue, &page->writers, wait);
    if (answer != PP_DONE) {
        return answer;
    }
    if (pp_load(&page->ended)) {
        answer = PP_ENDED;
    } else if (pp_queue_is_full(queue)) {
        answer = PP_TIMED_OUT;
    } else {
        answer = push(queue, record);
    }
    give(queue, &page->writers);
    PP_CRASH_POINT("queue.unlocked");
    if (answer == PP_TIMED_OUT) {
        return pp_sleep_on(queue, &page->room, &page->room_asleep, has_room, wait);
    }
    pp_wake_one(&page->items, &page->items_asleep);
    if (pp_load(&page->self.max) != 0 && wait != NULL && wait->slept) {
        /* Others may still be asleep, and a consumer that was quick may have woken only us. */
        pp_store(&page->room_asleep, 1);
        if (!pp_queue_is_full(queue)) {
            pp_wake_one(&page->room, &page->room_asleep);
        }
    }
    return answer;
}

/* -- getting -- */

static enum pp_answer written_over(struct pp_queue *queue)
{
    give(queue, &queue->page->readers);
    errno = PP_WRITTEN_OVER;
    return PP_FAILED;
}

enum pp_answer pp_queue_peek(struct pp_queue *queue, struct pp_record *record, struct pp_wait *wait)
{
    struct pp_queue_page *page = queue->page;
    if (is_empty(queue)) { /* looked at without the lock, so that those who find nothing do not hinder the others */
        if (pp_load(&page->ended) && is_empty(queue)) {
            return PP_ENDED;
        }
        if (pp_load(&page->polled) && take(queue, &page->readers, NULL) == PP_DONE) {
            drain_signal(queue);
            give(queue, &page->readers);
        }
        return pp_sleep_on(queue, &page->items, &page->items_asleep, has_items, wait);
    }
    enum pp_answer answer = take(queue, &page->readers, wait);
    if (answer != PP_DONE) {
        return answer;
    }
    for (int jumps = 0; jumps < 2; jumps++) {
        uint64_t head = pp_load64(&page->head);
        uint32_t place = pp_place(head);
        if (is_empty(queue)) {
            give(queue, &page->readers);
            return PP_AGAIN;
        }
        char *at = pp_segment_address(queue, place);
        if (at == NULL) {
            give(queue, &page->readers);
            return PP_FAILED;
        }
        uint64_t header;
        memcpy(&header, at, sizeof header);
        record->kind = (enum pp_record_kind)(header >> 32 & 0xff);
        record->length = (uint32_t)header;
        record->tag = (uint32_t)(header >> 40 & 0xffff);
        record->bytes = at + PP_UNIT;
        if (header >> 56 != PP_SEAL) {
            return written_over(queue);
        }
        if (record->kind != PP_JUMP) {
            uint32_t needs = units_of(record);
            if (record->length > PP_RECORD_MOST || place % PP_UNITS + needs >= PP_UNITS || record->kind < PP_BYTES) {
                return written_over(queue);
            }
            PP_CRASH_POINT("queue.peeked");
            return PP_DONE;
        }
        uint32_t next = pp_load(&page->segments[place / PP_UNITS]) & PP_SEGMENT_NEXT;
        if ((pp_load(&page->segments[next]) & PP_SEGMENT_USED) == 0) {
            return written_over(queue);
        }
        pp_store64(&page->head, (uint64_t)pp_items(head) << 32 | next * PP_UNITS);
        PP_CRASH_POINT("queue.left");
        pp_segment_free(queue, place / PP_UNITS);
    }
    return written_over(queue);
}

/* The entry of this process among those who took items; NULL if all are taken. Under the consumers' lock. */
static struct pp_member *member(struct pp_queue *queue, int make)
{
    struct pp_queue_page *page = queue->page;
    uint32_t me = pp_tag(queue->chunk->registry);
    struct pp_member *unused = NULL;
    for (uint32_t i = 0; i < PP_MEMBERS; i++) {
        uint32_t tag = pp_load(&page->members[i].tag);
        if (tag == me) {
            return &page->members[i];
        }
        if (unused == NULL && (tag == 0 || (pp_items(pp_load64(&page->members[i].taken)) == 0
                                            && pp_is_dead(queue->chunk->registry, tag)))) {
            unused = &page->members[i];
        }
    }
    if (!make || unused == NULL) {
        return NULL;
    }
    pp_store64(&unused->taken, 0);
    pp_store(&unused->tag, me);
    return unused;
}

void pp_queue_take(struct pp_queue *queue, struct pp_record *record, struct pp_wait *wait)
{
    struct pp_queue_page *page = queue->page;
    uint64_t head = pp_load64(&page->head);
    uint32_t item = pp_items(head) + 1;
    if (pp_load(&page->self.flags)) {
        struct pp_member *entry = member(queue, 1);
        uint64_t before = entry == NULL ? 0 : pp_load64(&entry->taken);
        if (entry != NULL) {
            while (!pp_cas64(&entry->taken, before, (uint64_t)(pp_items(before) + 1) << 32 | item)) {
                before = pp_load64(&entry->taken); /* another thread of ours says task_done */
            }
            PP_CRASH_POINT("queue.counted");
        }
    }
    if (pp_is_large(record)) {
        pp_slot_receive(queue, record->slot, pp_items(head));
    }
    uint32_t needs = units_of(record);
    pp_store64(&page->head, (uint64_t)item << 32 | (pp_place(head) + needs));
    PP_CRASH_POINT("queue.taken");
    if (pp_load(&page->polled) && is_empty(queue)) {
        drain_signal(queue);
    }
    give(queue, &page->readers);
    PP_CRASH_POINT("queue.freed");
    if (pp_load(&page->self.max) != 0) {
        pp_wake_one(&page->room, &page->room_asleep);
    }
    if (wait != NULL && wait->slept) {
        pp_store(&page->items_asleep, 1); /* we were woken, others may still be asleep */
        if (!is_empty(queue)) {
            pp_wake_one(&page->items, &page->items_asleep);
        }
    }
}

void pp_queue_leave(struct pp_queue *queue)
{
    give(queue, &queue->page->readers);
    pp_wake_one(&queue->page->items, &queue->page->items_asleep);
}

enum pp_answer pp_queue_await(struct pp_queue *queue, struct pp_wait *wait)
{
    struct pp_queue_page *page = queue->page;
    if (has_items(queue)) {
        if (wait->slept) { /* the wake-up may have been meant for somebody who gets */
            pp_store(&page->items_asleep, 1);
            pp_wake_one(&page->items, &page->items_asleep);
        }
        return PP_DONE;
    }
    return pp_sleep_on(queue, &page->items, &page->items_asleep, has_items, wait);
}

/* -- ending -- */

void pp_queue_end(struct pp_queue *queue)
{
    struct pp_queue_page *page = queue->page;
    pp_store(&page->ended, 1);
    if (pp_load(&page->polled)) {
        signal_items(queue);
    }
    pp_wake_all(&page->items, &page->items_asleep);
    pp_wake_all(&page->room, &page->room_asleep);
    pp_wake_all(&page->all_done, &page->all_done_asleep);
}

/* -- joining -- */

uint32_t pp_queue_unfinished(struct pp_queue *queue)
{
    struct pp_queue_page *page = queue->page;
    uint32_t left = pp_items(pp_load64(&page->tail)) - pp_load(&page->done);
    for (uint32_t i = 0; i < PP_MEMBERS && left != 0; i++) {
        uint32_t tag = pp_load(&page->members[i].tag);
        uint64_t taken = pp_load64(&page->members[i].taken);
        uint32_t count = pp_items(taken);
        if (tag == 0 || count == 0 || !pp_is_dead(queue->chunk->registry, tag)) {
            continue;
        }
        if ((int32_t)(pp_place(taken) - pp_items(pp_load64(&page->head))) > 0) {
            count--; /* it was killed before the last one was its own */
        }
        left -= count < left ? count : left;
    }
    return left;
}

static int is_done(struct pp_queue *queue)
{
    return pp_items(pp_load64(&queue->page->tail)) == pp_load(&queue->page->done);
}

static int count_less(struct pp_member *entry)
{
    uint64_t taken = pp_load64(&entry->taken);
    while (pp_items(taken) != 0) {
        if (pp_cas64(&entry->taken, taken, taken - ((uint64_t)1 << 32))) {
            return 1;
        }
        taken = pp_load64(&entry->taken);
    }
    return 0;
}

int pp_queue_done(struct pp_queue *queue)
{
    struct pp_queue_page *page = queue->page;
    uint32_t done;
    do {
        done = pp_load(&page->done);
        if (done == pp_items(pp_load64(&page->tail))) {
            return -1;
        }
    } while (!pp_cas(&page->done, done, done + 1));
    struct pp_member *entry = member(queue, 0);
    if (entry == NULL || !count_less(entry)) {
        /* Another process had taken it. Whose it was does not matter: what counts is the sum. */
        for (uint32_t i = 0; i < PP_MEMBERS && !count_less(&page->members[i]); i++) {
        }
    }
    PP_CRASH_POINT("queue.done");
    if (is_done(queue)) {
        pp_wake_all(&page->all_done, &page->all_done_asleep);
    }
    return 0;
}

enum pp_answer pp_queue_join(struct pp_queue *queue, struct pp_wait *wait)
{
    if (pp_queue_unfinished(queue) == 0) {
        return PP_DONE;
    }
    return pp_sleep_on(queue, &queue->page->all_done, &queue->page->all_done_asleep, is_done, wait);
}
