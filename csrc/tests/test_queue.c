/* The queue without Python, for the sanitizers: processes and threads that put and get, processes that die, slots and
 * views, frames, and pages that somebody wrote over. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/check.h"
#include "core/pp_frame.h"
#include "core/pp_futex.h"
#include "core/pp_queue_set.h"
#include "core/pp_slot.h"

#define SECOND 1000000000LL

static enum pp_answer put(struct pp_queue *queue, enum pp_record_kind kind, const void *bytes, uint32_t length,
                          int64_t slot, int64_t limit)
{
    struct pp_record record = {kind, bytes, length, slot, 0};
    struct pp_wait wait;
    enum pp_answer answer = pp_queue_put(queue, &record, NULL);
    pp_wait_start(&wait, pp_now() + limit, &queue->put_spins);
    while (answer == PP_AGAIN) {
        answer = pp_queue_put(queue, &record, &wait);
    }
    return answer;
}

/* Take one into `bytes`; its length, or -1. */
static int64_t get(struct pp_queue *queue, char *bytes, struct pp_record *record, int64_t limit)
{
    struct pp_wait wait;
    pp_wait_start(&wait, pp_now() + limit, &queue->get_spins);
    enum pp_answer answer = PP_AGAIN;
    while (answer == PP_AGAIN) {
        answer = pp_queue_begin_get(queue, record, &wait);
    }
    if (answer != PP_DONE) {
        return -1;
    }
    memcpy(bytes, record->bytes, record->length);
    if (record->kind >= PP_LARGE_BYTES) {
        record->slot = (int64_t)*(uint32_t *)(void *)bytes;
    }
    pp_queue_commit_get(queue, record, &wait);
    return record->length;
}

static int ended_well(pid_t pid)
{
    int status;
    CHECK(waitpid(pid, &status, 0) == pid);
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static void order_and_segments(void)
{
    struct pp_queue queue;
    struct pp_record record;
    static char bytes[PP_MAX_RECORD], other[PP_MAX_RECORD];
    CHECK(pp_queue_make(&queue, 0, 0));
    for (int round = 0; round < 3; round++) {
        for (uint32_t i = 0; i < 300; i++) {
            memset(bytes, (int)i, sizeof bytes);
            CHECK(put(&queue, PP_BYTES, bytes, i * 218 % (PP_MAX_RECORD + 1), -1, SECOND) == PP_DONE);
        }
        CHECK(pp_queue_size(&queue) == 300);
        for (uint32_t i = 0; i < 300; i++) {
            memset(other, (int)i, sizeof other);
            CHECK(get(&queue, bytes, &record, SECOND) == (int64_t)(i * 218 % (PP_MAX_RECORD + 1)));
            CHECK(memcmp(bytes, other, record.length) == 0);
        }
        CHECK(get(&queue, bytes, &record, 0) == -1);
    }
    uint32_t used = 0;
    for (uint32_t i = 0; i < 1000; i++) {
        used += pp_load(&queue.page->segments[i]) >> 31;
    }
    CHECK(used == 1);
    pp_queue_drop(&queue);
}

static void many_processes(uint32_t max)
{
    struct pp_queue queue, answers;
    struct pp_record record;
    char bytes[PP_MAX_RECORD];
    CHECK(pp_queue_make(&queue, max, 0) && pp_queue_make(&answers, 0, 0));
    pid_t pids[6];
    for (int i = 0; i < 6; i++) {
        pids[i] = fork();
        if (pids[i] == 0) {
            uint64_t sum = 0;
            for (uint64_t n = 1; n <= 2000; n++) {
                if (i < 3) {
                    CHECK(put(&queue, PP_BYTES, &n, sizeof n, -1, 60 * SECOND) == PP_DONE);
                } else {
                    CHECK(get(&queue, bytes, &record, 60 * SECOND) == sizeof n);
                    sum += *(uint64_t *)(void *)bytes;
                }
            }
            CHECK(put(&answers, PP_BYTES, &sum, sizeof sum, -1, SECOND) == PP_DONE);
            _exit(0);
        }
    }
    uint64_t sum = 0;
    for (int i = 0; i < 6; i++) {
        CHECK(ended_well(pids[i]));
        CHECK(get(&answers, bytes, &record, SECOND) == sizeof sum);
        sum += *(uint64_t *)(void *)bytes;
    }
    CHECK(sum == 3 * 2000ull * 2001 / 2);
    pp_queue_drop(&queue);
    pp_queue_drop(&answers);
}

static void slots_and_views(void)
{
    struct pp_queue queue;
    struct pp_record record;
    struct pp_view view;
    char bytes[PP_MAX_RECORD];
    size_t size = 100000;
    char *data = malloc(size);
    memset(data, 7, size);
    CHECK(pp_queue_make(&queue, 0, 0));
    int64_t slot = pp_slot_reserve(&queue, size);
    CHECK(slot == 0 && pp_slot_write(&queue, slot, 0, data, size) == (int64_t)size);
    uint32_t name = (uint32_t)slot;
    CHECK(put(&queue, PP_LARGE_BYTES, &name, sizeof name, slot, SECOND) == PP_DONE);
    CHECK(pp_slot_reserve(&queue, size) == 1);
    pp_slot_give(&queue, 1);
    CHECK(get(&queue, bytes, &record, SECOND) == sizeof name && record.slot == 0);
    CHECK(pp_view_map(&view, &queue, 0, size));
    view.bytes[0] = 8; /* private */
    pid_t pid = fork();
    if (pid == 0) {
        CHECK(view.slot == -1 && view.bytes[0] == 8 && view.bytes[99999] == 7);
        view.bytes[1] = 9;
        _exit(0);
    }
    CHECK(ended_well(pid));
    CHECK(view.bytes[1] == 7);
    CHECK(pp_slot_reserve(&queue, size) == 0); /* at the fork the memory became our own */
    memset(data, 1, size);
    CHECK(pp_slot_write(&queue, 0, 0, data, size) == (int64_t)size);
    CHECK(view.bytes[50000] == 7);
    pp_view_unmap(&view);
    pp_slot_give(&queue, 0);
    pid = fork();
    if (pid == 0) { /* dies with a slot */
        CHECK(pp_slot_reserve(&queue, size) == 0);
        kill(getpid(), SIGKILL);
    }
    int status;
    CHECK(waitpid(pid, &status, 0) == pid && WIFSIGNALED(status));
    CHECK(pp_slot_reserve(&queue, size) == 0);
    CHECK(pp_slot_reserve(&queue, queue.slot_size + 1) == -1 && errno == EMSGSIZE);
    CHECK(pp_slot_write(&queue, 0, queue.slot_size, data, 1) == -1);
    CHECK(!pp_view_map(&view, &queue, 99999, size) && !pp_view_map(&view, &queue, 0, 0));
    pp_slot_give(&queue, 0);
    pp_queue_drop(&queue);
    free(data);
}

/* Whatever stands in the page: an answer, no crash and no loop without end. */
static void hostile_pages(void)
{
    struct pp_queue queue;
    struct pp_record record;
    char bytes[PP_MAX_RECORD];
    srand(1);
    for (int round = 0; round < 3000; round++) {
        CHECK(pp_queue_make(&queue, round % 3, 1));
        for (uint32_t i = 0; i < 5; i++) {
            put(&queue, PP_BYTES, bytes, 1000, -1, 0);
        }
        struct pp_queue_page *page = queue.page;
        int what = round % 6;
        uint64_t random = (uint64_t)rand() << 40 ^ (uint64_t)rand() << 20 ^ (uint64_t)rand();
        if (what == 0) {
            pp_store64(&page->head, random);
        } else if (what == 1) {
            pp_store64(&page->tail, random);
        } else if (what == 2) {
            for (int i = 0; i < 40; i++) {
                ((char *)queue.windows[0])[rand() % 5000] = (char)rand();
            }
        } else if (what == 3) {
            pp_store(&page->segments[rand() % 4], (uint32_t)random);
            pp_store(&page->free_segment, (uint32_t)rand());
        } else if (what == 4) {
            pp_store(&page->writers.word, (uint32_t)random & 0x7fffffff);
            pp_store(&page->readers.word, (uint32_t)(random >> 32) & 0x7fffffff);
            pp_store(&page->leaked, 1);
        } else {
            for (int i = 0; i < 200; i++) {
                ((char *)page)[64 + rand() % 1472] = (char)rand();
            }
        }
        for (int i = 0; i < 12; i++) {
            put(&queue, PP_BYTES, bytes, 60000, -1, 1000);
            if (get(&queue, bytes, &record, 1000) < 0) {
                (void)pp_queue_done(&queue, NULL);
            }
            pp_queue_unfinished(&queue);
            int64_t slot = pp_slot_reserve(&queue, 10);
            if (slot >= 0) {
                pp_slot_give(&queue, slot);
            }
        }
        pp_queue_drop(&queue);
    }
    /* And at adoption. */
    CHECK(pp_queue_make(&queue, 0, 0));
    uint32_t offset = (uint32_t)((char *)queue.page - (char *)queue.chunk->page);
    struct pp_queue other;
    queue.page->slot_size = 1ull << 50;
    CHECK(!pp_queue_adopt(&other, queue.chunk, offset));
    queue.page->slot_size = 1ull << 24;
    queue.page->slots_there = UINT32_MAX;
    CHECK(!pp_queue_adopt(&other, queue.chunk, offset));
    CHECK(!pp_queue_adopt(&other, queue.chunk, offset + 64));
    CHECK(!pp_queue_adopt(&other, queue.chunk, 1u << 30));
    pp_queue_drop(&queue);
}

static void frames(void)
{
    int ends[2];
    char bytes[300000], other[300000];
    struct pp_sending sending;
    pp_word spins = 60;
    struct pp_receiving receiving = {.header_done = 0};
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
    memset(bytes, 5, sizeof bytes);
    pid_t pid = fork();
    if (pid == 0) {
        pp_send_start(&sending, bytes, sizeof bytes);
        int error = EINTR;
        while (error == EINTR) {
            error = pp_send(ends[0], &sending);
        }
        CHECK(error == 0);
        _exit(0);
    }
    close(ends[0]);
    int error = EINTR;
    while (error == EINTR) {
        error = pp_receive_header(ends[1], &receiving, &spins);
    }
    CHECK(error == 0 && receiving.size == sizeof bytes);
    error = EINTR;
    while (error == EINTR) {
        error = pp_receive_bytes(ends[1], &receiving, other, sizeof other);
    }
    CHECK(error == 0 && memcmp(bytes, other, sizeof bytes) == 0);
    receiving.header_done = 0;
    CHECK(pp_await_fd(ends[1], 0, PP_FOREVER) == 0);
    CHECK(pp_receive_header(ends[1], &receiving, &spins) == PP_END);
    CHECK(ended_well(pid));
    close(ends[1]);
    CHECK(pp_await_fd(ends[1], 0, 0) == EBADF);
}

/* Without a signal: one that comes while it looks, just before it sleeps, cuts no sleep short. */
static void a_receive_returns_at_a_tick(void)
{
    int ends[2];
    pp_word spins = 60;
    struct pp_receiving receiving = {.header_done = 0};
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
    CHECK(pp_receive_header(ends[1], &receiving, &spins) == EINTR);
    CHECK(fcntl(ends[1], F_SETFL, O_NONBLOCK) == 0);
    CHECK(pp_receive_header(ends[1], &receiving, &spins) == EAGAIN);
    close(ends[0]);
    close(ends[1]);
}

/* What came soon is looked for; a look in vain, and a processor that others need, is followed by waits without one. */
static void looks_for_what_comes_soon(void)
{
    int ends[2];
    struct pp_soon soon = {0};
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
    CHECK(write(ends[0], "x", 1) == 1);
    for (int i = 0; i < 1000 && !soon.came_soon; i++) {
        CHECK(pp_await_soon(ends[1], &soon) == 1);
    }
    CHECK(soon.came_soon);
    char byte;
    CHECK(read(ends[1], &byte, 1) == 1);
    soon.held_off = 2;
    CHECK(pp_await_soon(ends[1], &soon) == 0 && soon.held_off == 1);
    close(ends[0]);
    CHECK(pp_await_soon(ends[1], &soon) == 1 && soon.held_off == 0);
    close(ends[1]);
}

/* -- threads, for ThreadSanitizer -- */

static struct pp_queue shared;

static void *produce(void *argument)
{
    (void)argument;
    for (uint64_t n = 1; n <= 3000; n++) {
        CHECK(put(&shared, PP_BYTES, &n, sizeof n, -1, 60 * SECOND) == PP_DONE);
    }
    return NULL;
}

static void *consume(void *argument)
{
    char bytes[64];
    struct pp_record record;
    for (int n = 0; n < 3000; n++) {
        CHECK(get(&shared, bytes, &record, 60 * SECOND) == 8);
        *(uint64_t *)argument += *(uint64_t *)(void *)bytes;
    }
    return NULL;
}

static void threads(void)
{
    pthread_t all[4];
    uint64_t sums[2] = {0, 0};
    CHECK(pp_queue_make(&shared, 7, 0));
    for (int i = 0; i < 4; i++) {
        CHECK(pthread_create(&all[i], NULL, i < 2 ? produce : consume, i < 2 ? NULL : &sums[i - 2]) == 0);
    }
    for (int i = 0; i < 4; i++) {
        pthread_join(all[i], NULL);
    }
    CHECK(sums[0] + sums[1] == 2 * 3000ull * 3001 / 2);
    pp_queue_drop(&shared);
}

/* -- sets -- */

static void *await_lent(void *argument)
{
    struct pp_lent_wait wait = {.time = shared.times_lent};
    enum pp_answer answer = PP_AGAIN;
    pp_wait_start(&wait.wait, pp_now() + 60 * SECOND, &shared.get_spins);
    while (answer == PP_AGAIN) {
        answer = pp_queue_await_lent(&shared, &wait);
    }
    *(enum pp_answer *)argument = answer;
    return NULL;
}

/* A queue that is lent is passed by, and wakes who has it; its set has it again afterwards. */
static void lent(void)
{
    struct pp_queue waker, *queues[1] = {&shared};
    struct pp_queue_set set = {&waker, queues, 1, 0};
    struct pp_record record;
    enum pp_answer answer = PP_AGAIN;
    char bytes[16];
    pthread_t waiter;
    CHECK(pp_queue_make(&waker, 0, 0) && pp_queue_make(&shared, 0, 0));
    shared.waker = &waker;
    CHECK(put(&shared, PP_BYTES, "1", 1, -1, SECOND) == PP_DONE && pp_queue_set_next(&set) == 0);
    pp_queue_lend(&shared);
    CHECK(pp_queue_set_next(&set) == -1 && !pp_queue_set_has_items(&set));
    CHECK(put(&waker, PP_BYTES, "n", 1, -1, SECOND) == PP_DONE && pp_queue_set_next(&set) == 1);
    CHECK(get(&waker, bytes, &record, SECOND) == 1);
    CHECK(pp_queue_call_in(&shared, 0) && pp_queue_set_next(&set) == 0);
    CHECK(get(&shared, bytes, &record, SECOND) == 1 && pp_queue_set_next(&set) == -1);
    for (int comes = 0; comes < 2; comes++) {
        pp_queue_lend(&shared);
        CHECK(pthread_create(&waiter, NULL, await_lent, &answer) == 0);
        uint32_t word = pp_load(&waker.page->items);
        if (comes) {
            CHECK(put(&shared, PP_BYTES, "2", 1, -1, SECOND) == PP_DONE);
        } else {
            CHECK(!pp_queue_call_in(&shared, 1));
        }
        pthread_join(waiter, NULL);
        CHECK(answer == (comes ? PP_DONE : PP_ENDED));
        CHECK(pp_load(&waker.page->items) == word); /* nobody else was woken */
    }
    CHECK(pp_queue_call_in(&shared, 1));
    /* What is lent to another by now is not who had it before's. */
    struct pp_lent_wait before = {.time = pp_queue_lend(&shared)};
    pp_wait_start(&before.wait, pp_now() + 60 * SECOND, &shared.get_spins);
    CHECK(pp_queue_await_lent(&shared, &before) == PP_DONE);
    CHECK(pp_queue_call_in(&shared, 0) && pp_queue_lend(&shared) != before.time);
    CHECK(pp_queue_await_lent(&shared, &before) == PP_ENDED);
    CHECK(pp_queue_call_in(&shared, 0));
    pp_queue_drop(&shared);
    pp_queue_drop(&waker);
}

int main(int count, char **arguments)
{
    if (count > 1 && strcmp(arguments[1], "threads") == 0) {
        threads();
        lent();
        puts("queue, threads: fine");
        return 0;
    }
    order_and_segments();
    many_processes(0);
    many_processes(4);
    slots_and_views();
    frames();
    a_receive_returns_at_a_tick();
    looks_for_what_comes_soon();
    threads();
    lent();
    hostile_pages();
    puts("queue: fine");
    return 0;
}
