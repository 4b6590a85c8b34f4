#define _GNU_SOURCE
#include "core/pp_queue.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/pp_crash.h"
#include "core/pp_futex.h"
#include "core/pp_page.h"
#include "core/pp_queue_block.h"
#include "core/pp_sleep.h"
#include "core/pp_slot.h"
#include "core/pp_spin.h"

#define HANDING_GAP 300000u     /* 0.3 ms */
#define MAX_HANDING 1000000000u /* 1 s */
#define HANDING_LIMIT 1000000   /* 1 ms: how long others stand back */
#define LOOKS 32u
#define GUARD_LIMIT 200000000 /* 0.2 s: longer than any process holds a lock, unless it is stopped */

static void set_up(struct pp_queue *queue, struct pp_chunk *chunk, struct pp_queue_page *page)
{
    memset(queue, 0, sizeof *queue);
    queue->chunk = chunk;
    queue->page = page;
    pp_fd_own(&queue->signal_in, -1);
    pp_fd_own(&queue->signal_out, -1);
    pp_spin_start(&queue->get_spins);
    pp_spin_start(&queue->put_spins);
    pp_spin_start(&queue->lock_spins);
    queue->slots_at = chunk->size + (uint64_t)PP_SEGMENT * PP_SEGMENTS;
    queue->slot_size = *(volatile uint64_t *)&page->slot_size;
    queue->slots_there = *(volatile uint32_t *)&page->slots_there;
    queue->max = pp_load(&page->self.queue.max);
    queue->joinable = pp_load(&page->self.queue.joinable);
}

int pp_queue_make(struct pp_queue *queue, uint32_t max, int joinable)
{
    /* The file is sparse. Where the size of a file is limited (setrlimit(2), RLIMIT_FSIZE), slots are smaller. */
    static const uint64_t sizes[] = {1ull << 36, 1ull << 30, 1ull << 24};
    struct pp_chunk *chunk = NULL;
    uint32_t offset = 0;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes && offset == 0; i++) {
        uint64_t behind = (uint64_t)PP_SEGMENT * PP_SEGMENTS + sizes[i] * PP_MAX_SLOTS;
        offset = pp_chunk_alloc_own(sizeof(struct pp_queue_page), behind, PP_QUEUE, &chunk);
        if (offset != 0) {
            struct pp_queue_page *page = (struct pp_queue_page *)(void *)((char *)chunk->page + offset);
            /* Killed here: nobody else has it yet. */
            page->slot_size = sizes[i];
            page->slots_there = PP_MAX_SLOTS;
            pp_store(&page->self.queue.max, max);
            pp_store(&page->self.queue.joinable, (uint32_t)joinable);
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
    if (cell == NULL || fstat(pp_chunk_fd(chunk), &info) != 0) {
        return 0;
    }
    set_up(queue, chunk, (struct pp_queue_page *)(void *)cell);
    if (queue->slots_there > PP_MAX_SLOTS || queue->slot_size > 1ull << 40 || !pp_begins_page(queue->slot_size)
        || queue->slots_at + queue->slots_there * queue->slot_size > (uint64_t)info.st_size) {
        return 0;
    }
    return 1;
}

void pp_queue_drop(struct pp_queue *queue)
{
    pp_queue_block_unmap(queue);
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
    return queue->max != 0 && pp_queue_size(queue) >= queue->max;
}

/* -- the two locks -- */

/* Take a lock, one sleep at the most: PP_DONE, PP_AGAIN, PP_FAILED, PP_TIMED_OUT after 0.2 s and the caller's time. */
static enum pp_answer take(struct pp_queue *queue, struct pp_cell *lock, struct pp_wait *wait)
{
    uint32_t me = pp_tag(queue->chunk->registry);
    if (me == 0) {
        return PP_FAILED;
    }
    if (pp_lock_acquire(lock, me)) {
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
        pp_store(&queue->page->leaked, 1); /* killed here, or before it: the lock is recovered once more */
        answer = PP_DONE;
    }
    return answer;
}

static void give(struct pp_queue *queue, struct pp_cell *lock) { pp_lock_release(queue->chunk, lock); }

static int has_items(struct pp_queue *queue, struct pp_wait *wait)
{
    (void)wait;
    return !is_empty(queue) || pp_load(&queue->page->ended);
}

static int has_room(struct pp_queue *queue, struct pp_wait *wait)
{
    (void)wait;
    return !pp_queue_is_full(queue) || pp_load(&queue->page->ended);
}

/* -- the descriptor -- */

static void signal_items(struct pp_queue *queue)
{
    if (pp_fd_is_there(&queue->signal_out)) {
        ssize_t ignored = write(queue->signal_out.number, "", 1); /* EAGAIN: it is readable enough */
        (void)ignored;
    }
}

/* With the consumers' lock, when it is empty. No producer may be between its token and its record: its lock says so. */
static void drain_signal(struct pp_queue *queue)
{
    char tokens[64];
    if (!pp_fd_is_there(&queue->signal_in) || take(queue, &queue->page->writers, NULL) != PP_DONE) {
        return;
    }
    if (is_empty(queue) && !pp_load(&queue->page->ended)) {
        while (read(queue->signal_in.number, tokens, sizeof tokens) == (ssize_t)sizeof tokens) {
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
        if (has_items(queue, NULL)) { /* first the token: who sees `polled` trusts in it */
            signal_items(queue);
            PP_CRASH_POINT("queue.told");
        }
        pp_store(&queue->page->polled, 1);
        PP_CRASH_POINT("queue.polled");
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
    if (record->length > PP_MAX_RECORD) {
        errno = EMSGSIZE;
        return PP_FAILED;
    }
    if (place % PP_UNITS + needs + 1 > PP_UNITS) { /* one more, for a jump */
        if (pp_load(&page->leaked) && take(queue, &page->readers, NULL) == PP_DONE) {
            pp_queue_block_sweep(queue);
            give(queue, &page->readers);
        }
        int64_t next = pp_queue_block_chain(queue, place);
        if (next < 0) {
            return PP_FAILED;
        }
        place = (uint32_t)next;
    }
    char *at = pp_queue_block_address(queue, place);
    if (at == NULL || !pp_queue_block_reserve(queue, place / PP_UNITS, place % PP_UNITS + needs + 1)) {
        pp_store(&page->leaked, 1); /* perhaps the segment that was chained; killed here: the lock will be recovered */
        return PP_FAILED;
    }
    uint64_t header = PP_HEADER(record->kind, record->length, record->tag);
    memcpy(at, &header, sizeof header); /* killed here: it lies beyond the tail */
    memcpy(at + PP_UNIT, record->bytes, record->length);
    if (pp_is_large(record)) {
        pp_slot_send(queue, record->slot, pp_items(tail));
    }
    PP_CRASH_POINT("queue.written");
    if (pp_load(&page->polled) && is_empty(queue)) {
        signal_items(queue);
        PP_CRASH_POINT("queue.signalled");
    }
    pp_store64(&page->tail, pp_pack64(pp_items(tail) + 1, place + needs));
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
    struct pp_queue_page *heard = queue->waker == NULL || pp_load(&page->lent) ? page : queue->waker->page;
    pp_wake_one(&heard->items, &heard->items_asleep);
    if (queue->max != 0 && wait != NULL && wait->slept) {
        /* Others may still be asleep, and a consumer that was quick may have woken only us. */
        pp_store(&page->room_asleep, PP_ASLEEP); /* killed here: a wake-up for nobody */
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

/* -- handing over -- */

/* It is taken, or was kept in vain: others go on, and keep none for so long. */
static void handed(struct pp_queue *queue, uint32_t gap)
{
    struct pp_queue_page *page = queue->page;
    /* Killed here: others stand back no longer than they do at most. */
    pp_store(&page->handing_gap, gap);
    pp_store64(&page->next_handing, (uint64_t)(pp_now() + gap));
    pp_store(&page->handed, 0);
    pp_futex_wake(&page->handed, 0x7fffffff);
}

/* There is an item, and we have not slept for it. Whether it is to be left to others for now; without `wait` whether to call
 * again with it, at the cost of next to nothing. */
static int stands_back(struct pp_queue *queue, struct pp_wait *wait)
{
    struct pp_queue_page *page = queue->page;
    int is_handed = pp_load(&page->handed) != 0;
    if (wait == NULL) {
        uint32_t gets = pp_load_own(&queue->gets) + 1;
        pp_store_own(&queue->gets, gets);
        return is_handed || (gets % LOOKS == 0 && pp_load(&page->items_asleep));
    }
    if (wait->slept || wait->deadline < 0 || (!is_handed && !pp_load(&page->items_asleep))) {
        return 0;
    }
    int64_t now = pp_now();
    if (!is_handed) {
        if (now < (int64_t)pp_load64(&page->next_handing) || !pp_cas(&page->handed, 0, 1)) {
            return 0;
        }
        PP_CRASH_POINT("queue.handed");
        if (pp_load(&page->items_asleep) == PP_ASLEEP && !pp_wake_one(&page->items, &page->items_asleep)) {
            handed(queue, HANDING_GAP); /* nobody is asleep */
            return 0;
        }
    }
    int64_t until = now + HANDING_LIMIT < wait->deadline ? now + HANDING_LIMIT : wait->deadline;
    while (pp_load(&page->handed) && pp_now() < until) {
        if (pp_futex_wait(&page->handed, 1, until) == EINTR) {
            break; /* a signal */
        }
    }
    if (pp_load(&page->handed)) { /* in vain; perhaps its setter has died */
        uint32_t gap = pp_load(&page->handing_gap);
        handed(queue, gap < HANDING_GAP ? HANDING_GAP : gap < MAX_HANDING ? gap * 2 : gap);
        pp_cas(&page->items_asleep, PP_WOKEN, 0); /* killed here: only that it is tried once more in vain */
    }
    return is_empty(queue);
}

enum pp_answer pp_queue_begin_get(struct pp_queue *queue, struct pp_record *record, struct pp_wait *wait)
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
    if (stands_back(queue, wait)) {
        return PP_AGAIN;
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
        char *at = pp_queue_block_address(queue, place);
        if (at == NULL) {
            give(queue, &page->readers);
            return PP_FAILED;
        }
        uint64_t header = pp_load64((pp_word64 *)(void *)at); /* once */
        record->kind = (enum pp_record_kind)(header >> 32 & 0xff);
        record->length = (uint32_t)header;
        record->tag = (uint32_t)(header >> 40 & 0xffff);
        record->bytes = at + PP_UNIT;
        if (header >> 56 != PP_SEAL) {
            return written_over(queue);
        }
        if (record->kind != PP_JUMP) {
            uint32_t needs = units_of(record);
            if (record->length > PP_MAX_RECORD || place % PP_UNITS + needs >= PP_UNITS || record->kind < PP_BYTES
                || record->kind > PP_LARGE_PICKLE) {
                return written_over(queue);
            }
            PP_CRASH_POINT("queue.peeked");
            return PP_DONE;
        }
        uint32_t next = pp_load(&page->segments[place / PP_UNITS]) & PP_SEGMENT_NEXT;
        if ((pp_load(&page->segments[next]) & PP_SEGMENT_USED) == 0) {
            return written_over(queue);
        }
        pp_store64(&page->head, pp_pack64(pp_items(head), next * PP_UNITS));
        PP_CRASH_POINT("queue.left");
        pp_queue_block_free(queue, place / PP_UNITS);
    }
    return written_over(queue);
}

/* Count an item for this process, which takes it. Under the consumers' lock. */
static void count_taken(struct pp_queue *queue, uint32_t item)
{
    struct pp_queue_page *page = queue->page;
    uint32_t me = pp_tag(queue->chunk->registry), place = me & (PP_SLOTS - 1);
    uint32_t done_to = pp_load(&page->done_to);
    if ((int32_t)(done_to - item) > 0) {
        return;
    }
    if (item - done_to > 1u << 20) {
        pp_store(&page->done_to, item); /* killed here: it says what it said; it must not fall behind by half a round */
    }
    if (pp_load(&page->takers_ever) <= place) {
        pp_store(&page->takers_ever, place + 1); /* killed here: one more to look at, who has taken nothing */
    }
    uint64_t now, after;
    do { /* another thread of ours may say task_done; another tag is a dead process's */
        now = pp_load64(&page->takers[place]);
        after = pp_items(now) == me ? now + 1 : pp_pack64(me, 1);
    } while (!pp_cas64(&page->takers[place], now, after));
    PP_CRASH_POINT("queue.counted");
}

void pp_queue_commit_get(struct pp_queue *queue, struct pp_record *record, struct pp_wait *wait)
{
    struct pp_queue_page *page = queue->page;
    uint64_t head = pp_load64(&page->head);
    uint32_t item = pp_items(head) + 1;
    if (queue->joinable) {
        count_taken(queue, pp_items(head));
    }
    if (pp_is_large(record)) {
        pp_slot_receive(queue, record->slot, pp_items(head));
    }
    uint32_t needs = units_of(record);
    pp_store64(&page->head, pp_pack64(item, pp_place(head) + needs));
    PP_CRASH_POINT("queue.taken");
    if (pp_load(&page->polled) && is_empty(queue)) {
        drain_signal(queue);
    }
    give(queue, &page->readers);
    PP_CRASH_POINT("queue.freed");
    if (queue->max != 0) {
        pp_wake_one(&page->room, &page->room_asleep);
    }
    if (wait != NULL && wait->slept) {
        if (pp_load(&page->handed)) {
            handed(queue, HANDING_GAP);
        }
        pp_store(&page->items_asleep, PP_ASLEEP); /* we were woken, others may still be asleep; killed here: a wake-up for nobody */
        if (!is_empty(queue)) {
            pp_wake_one(&page->items, &page->items_asleep);
        }
    }
}

void pp_queue_abort_get(struct pp_queue *queue)
{
    give(queue, &queue->page->readers);
    pp_wake_one(&queue->page->items, &queue->page->items_asleep);
}

enum pp_answer pp_queue_await(struct pp_queue *queue, struct pp_wait *wait)
{
    struct pp_queue_page *page = queue->page;
    if (has_items(queue, NULL)) {
        if (wait->slept) { /* the wake-up may have been meant for somebody who gets */
            pp_store(&page->items_asleep, PP_ASLEEP); /* killed here: a wake-up for nobody */
            pp_wake_one(&page->items, &page->items_asleep);
        }
        return PP_DONE;
    }
    return pp_sleep_on(queue, &page->items, &page->items_asleep, has_items, wait);
}

/* -- ending -- */

enum pp_answer pp_queue_end(struct pp_queue *queue, struct pp_wait *wait)
{
    struct pp_queue_page *page = queue->page;
    enum pp_answer answer = take(queue, &page->writers, wait); /* it keeps others from draining the token */
    if (answer != PP_DONE) {
        return answer;
    }
    if (pp_load(&page->polled)) {
        signal_items(queue);
        PP_CRASH_POINT("queue.told");
    }
    pp_store(&page->ended, 1);
    PP_CRASH_POINT("queue.ended");
    give(queue, &page->writers);
    pp_wake_all(&page->items, &page->items_asleep);
    pp_wake_all(&page->room, &page->room_asleep);
    pp_wake_all(&page->all_done, &page->all_done_asleep);
    return PP_DONE;
}

/* -- joining -- */

static uint32_t takers_ever(struct pp_queue *queue)
{
    uint32_t ever = pp_load(&queue->page->takers_ever);
    return ever < PP_SLOTS ? ever : PP_SLOTS;
}

/* The first that nobody has taken, and that task_done was not called for. */
static uint32_t first_left(struct pp_queue *queue, uint32_t head)
{
    uint32_t done_to = pp_load(&queue->page->done_to);
    return (int32_t)(done_to - head) > 0 ? done_to : head;
}

uint32_t pp_queue_unfinished(struct pp_queue *queue)
{
    struct pp_queue_page *page = queue->page;
    uint32_t put = pp_items(pp_load64(&page->tail)), taken = pp_items(pp_load64(&page->head));
    uint32_t left = put - first_left(queue, taken);
    for (uint32_t i = 0; i < takers_ever(queue); i++) {
        uint64_t word = pp_load64(&page->takers[i]);
        if (pp_place(word) != 0 && !pp_is_dead(queue->chunk->registry, pp_items(word))) {
            left += pp_place(word);
        }
    }
    if (left == 0 && (put != pp_items(pp_load64(&page->tail)) || taken != pp_items(pp_load64(&page->head)))) {
        return 1; /* one was put or taken meanwhile: who did so says task_done, and looks again */
    }
    return left;
}

static int is_done(struct pp_queue *queue, struct pp_wait *wait)
{
    (void)wait;
    return pp_queue_unfinished(queue) == 0;
}

/* Take one from a count, if it is not zero. */
static int count_less(pp_word64 *place)
{
    uint64_t now = pp_load64(place);
    while (pp_place(now) != 0) {
        if (pp_cas64(place, now, now - 1)) {
            PP_CRASH_POINT("queue.done");
            return 1;
        }
        now = pp_load64(place);
    }
    return 0;
}

/* Of another process, whose it was does not matter: what counts is the sum of the living. */
static int count_less_of_another(struct pp_queue *queue)
{
    struct pp_queue_page *page = queue->page;
    for (int dead = 0; dead < 2; dead++) {
        for (uint32_t i = 0; i < takers_ever(queue); i++) {
            uint64_t word = pp_load64(&page->takers[i]);
            if (pp_place(word) != 0 && pp_is_dead(queue->chunk->registry, pp_items(word)) == dead
                && count_less(&page->takers[i])) {
                return 1;
            }
        }
    }
    return 0;
}

enum pp_answer pp_queue_done(struct pp_queue *queue, struct pp_wait *wait)
{
    struct pp_queue_page *page = queue->page;
    uint32_t me = pp_tag(queue->chunk->registry);
    pp_word64 *mine = &page->takers[me & (PP_SLOTS - 1)];
    if (me == 0) {
        return PP_FAILED;
    }
    if (pp_items(pp_load64(mine)) != me || !count_less(mine)) {
        enum pp_answer answer = take(queue, &page->readers, wait); /* nobody takes one meanwhile */
        if (answer != PP_DONE) {
            return answer;
        }
        if (!count_less_of_another(queue)) {
            uint32_t item = first_left(queue, pp_items(pp_load64(&page->head)));
            if (item == pp_items(pp_load64(&page->tail))) {
                answer = PP_ENDED;
            } else {
                pp_store(&page->done_to, item + 1);
                PP_CRASH_POINT("queue.forestalled");
            }
        }
        give(queue, &page->readers);
        if (answer != PP_DONE) {
            return answer;
        }
    }
    if (pp_load(&page->all_done_asleep) && is_done(queue, NULL)) {
        pp_wake_all(&page->all_done, &page->all_done_asleep);
    }
    return PP_DONE;
}

enum pp_answer pp_queue_join(struct pp_queue *queue, struct pp_wait *wait)
{
    if (is_done(queue, NULL)) {
        return PP_DONE;
    }
    return pp_sleep_on(queue, &queue->page->all_done, &queue->page->all_done_asleep, is_done, wait);
}
