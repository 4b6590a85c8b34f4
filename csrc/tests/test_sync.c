/* The shared primitives without Python, for the sanitizers: processes that contend, processes that die, threads (for
 * ThreadSanitizer), and memory that somebody wrote over. */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/check.h"
#include "core/pp_barrier.h"
#include "core/pp_condition.h"
#include "core/pp_event.h"
#include "core/pp_facts.h"
#include "core/pp_futex.h"
#include "core/pp_memory.h"
#include "core/pp_semaphore.h"
#include "core/pp_spin.h"
#include "core/pp_batch_cursor.h"

#define SECOND 1000000000LL
#define ROUNDS 20000
#define NOTIFICATIONS 100000

static struct pp_cell *cell_of(struct pp_chunk *chunk, uint32_t offset)
{
    return (struct pp_cell *)(void *)((char *)chunk->page + offset);
}

static struct pp_cell *make(enum pp_kind kind, size_t size, struct pp_chunk **chunk)
{
    uint32_t offset = pp_chunk_alloc(size, kind, chunk);
    CHECK(offset != 0);
    return cell_of(*chunk, offset);
}

static enum pp_answer acquire(struct pp_chunk *chunk, struct pp_cell *cell, int64_t limit)
{
    struct pp_spin spin;
    pp_spin_start(&spin);
    struct pp_wait wait;
    enum pp_answer answer = pp_lock_try(chunk, cell);
    pp_wait_start(&wait, pp_now() + limit, &spin);
    while (answer == PP_AGAIN) {
        answer = pp_lock_wait(chunk, cell, &wait);
    }
    return answer;
}

static enum pp_answer take_token(struct pp_semaphore *tokens, int64_t limit)
{
    struct pp_wait wait;
    enum pp_answer answer = PP_AGAIN;
    pp_wait_start(&wait, pp_now() + limit, NULL);
    while (answer == PP_AGAIN) {
        answer = pp_semaphore_wait(tokens, 1, &wait);
    }
    return answer;
}

static int ended_well(pid_t pid)
{
    int status;
    CHECK(waitpid(pid, &status, 0) == pid);
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static void test_processes(void)
{
    struct pp_chunk *chunk;
    struct pp_cell *lock = make(PP_LOCK, sizeof *lock, &chunk);
    struct pp_semaphore tokens;
    pp_semaphore_make(&tokens, chunk, make(PP_SEMAPHORE, pp_semaphore_size(2), &chunk), 2, 1);
    long *shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pid_t pids[4];
    for (int i = 0; i < 4; i++) {
        pids[i] = fork();
        if (pids[i] == 0) {
            for (int round = 0; round < ROUNDS; round++) {
                CHECK(acquire(chunk, lock, 60 * SECOND) == PP_DONE);
                shared[0]++;
                CHECK(pp_lock_release(chunk, lock) == 0);
                if (round % 16 == 0) {
                    CHECK(take_token(&tokens, 60 * SECOND) == PP_DONE);
                    CHECK(pp_semaphore_release(&tokens, 1) == 0);
                }
            }
            _exit(0);
        }
    }
    for (int i = 0; i < 4; i++) {
        CHECK(ended_well(pids[i]));
    }
    CHECK(shared[0] == 4L * ROUNDS);
    CHECK(pp_semaphore_value(&tokens) == 2);
}

static void *take_one(void *tokens)
{
    CHECK(take_token(tokens, 60 * SECOND) == PP_DONE);
    return NULL;
}

/* A release makes no call for nobody: who sleeps is known to be gone when it was woken, or when none was found. */
static void test_sleepers(void)
{
    struct pp_chunk *chunk;
    struct pp_semaphore tokens;
    pp_semaphore_make(&tokens, chunk, make(PP_SEMAPHORE, pp_semaphore_size(0), &chunk), 0, 0);
    pp_word *asleep = &tokens.cell->semaphore.asleep, *sequence = &tokens.cell->semaphore.sequence;
    for (int sleepers = 1; sleepers <= 3; sleepers++) {
        pthread_t threads[3];
        uint32_t before = pp_load(asleep);
        for (int i = 0; i < sleepers; i++) {
            CHECK(pthread_create(&threads[i], NULL, take_one, &tokens) == 0);
        }
        while (pp_load(asleep) / 4 - before / 4 < (uint32_t)sleepers) { /* each has said that it sleeps, or several times */
            pp_pause();
        }
        for (int i = 0; i < sleepers; i++) {
            CHECK(pp_semaphore_release(&tokens, 0) == 0);
        }
        for (int i = 0; i < sleepers; i++) {
            CHECK(pthread_join(threads[i], NULL) == 0);
        }
        CHECK(pp_semaphore_value(&tokens) == 0);
        CHECK(pp_semaphore_release(&tokens, 0) == 0 && pp_semaphore_try(&tokens, 0) == PP_DONE);
        CHECK((pp_load(asleep) & 3) == 0);
        uint32_t calls = pp_load(sequence);
        CHECK(pp_semaphore_release(&tokens, 0) == 0 && pp_semaphore_try(&tokens, 0) == PP_DONE);
        CHECK(pp_load(sequence) == calls);
    }
}

static void test_deaths(void)
{
    struct pp_chunk *chunk;
    struct pp_cell *lock = make(PP_LOCK, sizeof *lock, &chunk);
    struct pp_semaphore tokens;
    pp_semaphore_make(&tokens, chunk, make(PP_SEMAPHORE, pp_semaphore_size(1), &chunk), 1, 1);
    struct pp_cell *told = make(PP_EVENT, sizeof *told, &chunk);
    for (int i = 0; i < 50; i++) {
        pp_event_clear(told);
        pid_t pid = fork();
        if (pid == 0) {
            acquire(chunk, lock, SECOND);
            take_token(&tokens, SECOND);
            pp_event_set(told);
            pause();
        }
        struct pp_wait wait;
        pp_wait_start(&wait, pp_now() + 60 * SECOND, NULL);
        wait.seen = pp_event_look(told);
        while (!pp_event_is_set(told)) {
            CHECK(pp_event_wait(told, &wait) != PP_TIMED_OUT);
        }
        CHECK(pp_lock_try(chunk, lock) == PP_AGAIN);
        CHECK(pp_pid_of(chunk->registry, pp_load(&lock->word)) == pid);
        CHECK(kill(pid, SIGKILL) == 0);
        CHECK(acquire(chunk, lock, 60 * SECOND) == PP_RECOVERED);
        CHECK(take_token(&tokens, 60 * SECOND) == PP_RECOVERED);
        CHECK(pp_lock_release(chunk, lock) == 0);
        CHECK(pp_semaphore_release(&tokens, 1) == 0);
        CHECK(!ended_well(pid));
    }
}

/* The thread that registered its process has ended: the process lives, and so does its lock. */
static void *take_in_thread(void *argument)
{
    void **place = argument;
    CHECK(acquire(place[0], place[1], SECOND) == PP_DONE);
    return NULL;
}

static void test_thread_that_registered(void)
{
    struct pp_chunk *chunk;
    struct pp_cell *lock = make(PP_LOCK, sizeof *lock, &chunk);
    struct pp_cell *told = make(PP_EVENT, sizeof *told, &chunk);
    pid_t pid = fork();
    if (pid == 0) {
        void *place[2] = {chunk, lock};
        pthread_t thread;
        CHECK(pthread_create(&thread, NULL, take_in_thread, place) == 0);
        pthread_join(thread, NULL);
        pp_event_set(told);
        pause();
    }
    while (!pp_event_is_set(told)) {
        usleep(1000);
    }
    CHECK(acquire(chunk, lock, SECOND / 2) == PP_TIMED_OUT);
    CHECK(kill(pid, SIGKILL) == 0);
    CHECK(acquire(chunk, lock, 60 * SECOND) == PP_RECOVERED);
    CHECK(!ended_well(pid));
}

/* A child is another, whichever way it was forked, in a registry that was made here as in one that came from elsewhere. */
static void test_forks(void)
{
    struct pp_chunk *chunk;
    struct pp_cell *lock = make(PP_LOCK, sizeof *lock, &chunk);
    uint32_t births = pp_birth();
    uint64_t thread = (uint64_t)(uintptr_t)pthread_self();
    CHECK(acquire(chunk, lock, SECOND) == PP_DONE);
    pp_lock_own(chunk, lock, thread, 1);
    CHECK(pp_lock_is_mine(chunk, lock, thread));
    CHECK(pthread_mutex_lock(&pp_facts->registry_guard) == 0); /* as another thread would, at the moment of the fork */
    for (int how = 0; how < 2; how++) {
        pid_t pid = how == 0 ? fork() : (pid_t)syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL);
        if (pid == 0) {
            alarm(60);
            CHECK(pp_me(chunk->registry) == 0 && pp_birth() != births);
            CHECK(!pp_lock_is_mine(chunk, lock, thread));
            CHECK(acquire(chunk, lock, 1000000) == PP_TIMED_OUT);
            CHECK(pp_tag(chunk->registry) != (pp_load(&lock->word) & PP_TAG_MASK));
            _exit(0);
        }
        CHECK(ended_well(pid));
    }
    CHECK(pthread_mutex_unlock(&pp_facts->registry_guard) == 0);
    CHECK(pp_birth() == births && pp_lock_is_mine(chunk, lock, thread) && pp_lock_give(chunk, lock) == 0);
}

/* A child's only thread has its parent's place in memory. What a dead one has left of itself makes nobody the owner, until
 * a thread says that it is. */
static void test_recovery_lets_nobody_in_but_who_recovers(void)
{
    struct pp_chunk *chunk;
    struct pp_cell *lock = make(PP_RLOCK, sizeof *lock, &chunk);
    uint64_t thread = (uint64_t)(uintptr_t)pthread_self();
    pid_t pid = fork();
    if (pid == 0) {
        CHECK(acquire(chunk, lock, SECOND) == PP_DONE);
        pp_lock_own(chunk, lock, thread, 3);
        _exit(0);
    }
    CHECK(ended_well(pid));
    CHECK(pp_lock_try(chunk, lock) == PP_RECOVERED); /* for another thread, say */
    CHECK(!pp_lock_is_mine(chunk, lock, thread) && pp_rlock_release(chunk, lock, thread) == -1);
    pp_lock_own(chunk, lock, thread + 16384, 1);
    CHECK(!pp_lock_is_mine(chunk, lock, thread) && pp_lock_is_mine(chunk, lock, thread + 16384));
    CHECK(pp_rlock_release(chunk, lock, thread + 16384) == 0);
    /* What was given back is nobody's, though the same process takes it next. */
    CHECK(acquire(chunk, lock, SECOND) == PP_DONE && !pp_lock_is_mine(chunk, lock, thread + 16384));
    CHECK(pp_lock_give(chunk, lock) == 0 && pp_lock_give(chunk, lock) == -1);
}

/* Our entry stands among the C library's on the list of a thread: its own mutexes work as ever, and so does the kernel. */
static void test_robust_mutexes_beside_ours(void)
{
    pthread_mutexattr_t kind;
    pthread_mutex_t *mutexes = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pthread_mutexattr_init(&kind);
    pthread_mutexattr_setpshared(&kind, PTHREAD_PROCESS_SHARED);
    pthread_mutexattr_setrobust(&kind, PTHREAD_MUTEX_ROBUST);
    for (int i = 0; i < 4; i++) {
        CHECK(pthread_mutex_init(&mutexes[i], &kind) == 0);
    }
    struct pp_chunk *chunk;
    struct pp_cell *lock = make(PP_LOCK, sizeof *lock, &chunk);
    for (int how = 0; how < 4; how++) { /* which of them are given back before the end */
        pid_t pid = fork();
        if (pid == 0) {
            CHECK(pthread_mutex_lock(&mutexes[0]) == 0 && pthread_mutex_lock(&mutexes[1]) == 0);
            CHECK(acquire(chunk, lock, SECOND) == PP_DONE);
            CHECK(pthread_mutex_lock(&mutexes[2]) == 0 && pthread_mutex_lock(&mutexes[3]) == 0);
            if ((how & 1) != 0) {
                CHECK(pthread_mutex_unlock(&mutexes[1]) == 0);
            }
            if ((how & 2) != 0) {
                CHECK(pthread_mutex_unlock(&mutexes[2]) == 0);
            }
            CHECK(pthread_mutex_unlock(&mutexes[3]) == 0);
            _exit(0);
        }
        CHECK(ended_well(pid));
        CHECK(pp_lock_try(chunk, lock) == PP_RECOVERED && pp_lock_release(chunk, lock) == 0);
        for (int i = 0; i < 4; i++) {
            int given = i == 3 || (i == 1 && (how & 1) != 0) || (i == 2 && (how & 2) != 0);
            int result = pthread_mutex_trylock(&mutexes[i]);
            CHECK(result == (given ? 0 : EOWNERDEAD));
            CHECK(result == 0 || pthread_mutex_consistent(&mutexes[i]) == 0);
            CHECK(pthread_mutex_unlock(&mutexes[i]) == 0);
        }
    }
    munmap(mutexes, 4096);
}

/* A Lock that was held at an orderly end waits for who releases it, and its process needs no slot any more. */
static void test_hand_over(void)
{
    struct pp_chunk *chunk;
    struct pp_cell *lock = make(PP_LOCK, sizeof *lock, &chunk);
    uint32_t offset = (uint32_t)((char *)lock - (char *)chunk->page);
    for (int i = 0; i < PP_SLOTS + 100; i++) {
        pid_t pid = fork();
        if (pid == 0) {
            CHECK(acquire(chunk, lock, SECOND) == PP_DONE && pp_chunk_note(chunk, offset));
            pp_chunk_hand_over();
            CHECK((pp_load(&lock->word) & PP_TAG_MASK) == PP_TAG_HANDED);
            _exit(0);
        }
        CHECK(ended_well(pid));
        CHECK(pp_lock_try(chunk, lock) == PP_AGAIN && pp_pid_of(chunk->registry, pp_load(&lock->word)) == 0);
        CHECK(pp_lock_release(chunk, lock) == 0);
    }
}

/* Who else has the registry writes over it: kinds of mutexes, ids of threads, pointers, generations. Processes come and
 * go, and none ends but by its own exit. */
static void test_hostile_registry(void)
{
    struct pp_chunk *chunk;
    struct pp_cell *lock = make(PP_LOCK, sizeof *lock, &chunk);
    CHECK(pp_tag(chunk->registry) != 0);
    uint32_t *words = (uint32_t *)(void *)chunk->registry->page;
    size_t from = 128 / sizeof *words, count = PP_SLOTS * 128 / sizeof *words;
    pid_t writer = fork();
    if (writer == 0) {
        unsigned seed = 5;
        for (;;) {
            size_t at = from + ((size_t)rand_r(&seed) << 3 ^ (size_t)rand_r(&seed)) % count;
            words[at] = rand_r(&seed) % 3 == 0 ? 0 : rand_r(&seed) % 2 == 0 ? (uint32_t)rand_r(&seed) << 1 : 0x90;
        }
    }
    for (int i = 0; i < 1000; i++) {
        pid_t pid = fork();
        if (pid == 0) {
            alarm(20);
            (void)acquire(chunk, lock, 2000000);
            pp_registry_rearm(chunk->registry);
            (void)pp_lock_release(chunk, lock);
            _exit(0);
        }
        CHECK(ended_well(pid));
    }
    CHECK(kill(writer, SIGKILL) == 0 && !ended_well(writer));
    memset(words + from, 0, count * sizeof *words);
}

/* Whatever stands in a cell: an answer comes, in time. */
static void test_hostile_memory(void)
{
    struct pp_chunk *chunk;
    struct pp_cell *cell = make(PP_SEMAPHORE, pp_semaphore_size(32), &chunk);
    uint32_t offset = (uint32_t)((char *)cell - (char *)chunk->page);
    unsigned seed = 7;
    for (int round = 0; round < 300; round++) {
        uint32_t *words = (uint32_t *)(void *)cell;
        for (size_t i = 0; i < 3 * sizeof *cell / sizeof *words; i++) {
            words[i] = round % 3 == 0 ? (uint32_t)rand_r(&seed) * 2654435761u : round % 3 == 1 ? ~0u : 0x80000000u >> (i % 32);
        }
        enum pp_kind kind = (enum pp_kind)(1 + round % PP_MEMORY);
        pp_store(&cell->kind, kind);
        struct pp_semaphore tokens;
        size_t size;
        int is_semaphore = pp_semaphore_adopt(&tokens, chunk, offset);
        CHECK(pp_memory_check(chunk, offset, &size) == 0 || size <= chunk->size - offset - sizeof *cell);
        enum pp_answer answer = acquire(chunk, cell, 1000000);
        CHECK(answer != PP_AGAIN && answer != PP_FAILED);
        (void)pp_lock_release(chunk, cell);
        if (is_semaphore) {
            (void)take_token(&tokens, 1000000);
            (void)pp_semaphore_release(&tokens, 0);
            (void)pp_semaphore_value(&tokens);
        }
        pp_event_set(cell);
        pp_event_clear(cell);
        struct pp_wait wait;
        pp_wait_start(&wait, pp_now() + 1000000, NULL);
        wait.seen = pp_condition_enter(cell);
        (void)pp_condition_wait(cell, &wait);
        (void)pp_condition_exit(cell, &wait, round % 2);
        (void)pp_condition_waiting(cell);
        pp_condition_notify(cell, cell, 3);
        uint32_t index;
        if (pp_barrier_guard(chunk, cell, &wait) == PP_DONE && pp_barrier_arrive(chunk, cell, 2, &index, &wait) == PP_ARRIVED) {
            (void)pp_barrier_wait(chunk, cell, &wait);
            (void)pp_barrier_was_broken(cell, wait.seen);
        }
        (void)pp_barrier_waiting(cell, 2);
        pp_barrier_give_up(chunk, cell, wait.seen, round % 2 ? PP_FULL : PP_ARRIVED);
        pp_barrier_open(chunk, cell, wait.seen);
        pp_barrier_reset(chunk, cell);
        pp_barrier_abort(chunk, cell);
    }
    CHECK(pp_chunk_cell(chunk, 0, PP_LOCK, 64) == NULL);
    CHECK(pp_chunk_cell(chunk, (uint32_t)chunk->size, PP_LOCK, 64) == NULL);
    CHECK(pp_chunk_cell(chunk, 64, PP_LOCK, ~(size_t)0) == NULL);
    CHECK(pp_chunk_attach(0, 0) == NULL);
}

static void *contend(void *argument)
{
    void **place = argument;
    for (int round = 0; round < ROUNDS; round++) {
        CHECK(acquire(place[0], place[1], 60 * SECOND) == PP_DONE);
        ++*(long *)place[2];
        CHECK(pp_lock_release(place[0], place[1]) == 0);
    }
    return NULL;
}

static void test_threads(void)
{
    struct pp_chunk *chunk;
    long count = 0;
    struct pp_cell *lock = make(PP_LOCK, sizeof *lock, &chunk);
    void *place[3] = {chunk, lock, &count};
    pthread_t threads[4];
    for (int i = 0; i < 4; i++) {
        CHECK(pthread_create(&threads[i], NULL, contend, place) == 0);
    }
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
    }
    CHECK(count == 4L * ROUNDS);
}

/* Who gives up at the moment of a notification takes it, or leaves it to others: it is never lost. */

struct crowd {
    struct pp_chunk *chunk;
    struct pp_cell *lock, *condition;
    pp_word turn, over;
};

/* With the lock. */
static enum pp_answer wait_in(struct crowd *crowd, int64_t limit)
{
    struct pp_wait wait;
    pp_wait_start(&wait, pp_now() + limit, NULL);
    wait.seen = pp_condition_enter(crowd->condition);
    CHECK(pp_lock_release(crowd->chunk, crowd->lock) == 0);
    enum pp_answer answer;
    do {
        answer = pp_condition_wait(crowd->condition, &wait);
    } while (answer == PP_AGAIN);
    if (answer == PP_TIMED_OUT && pp_condition_exit(crowd->condition, &wait, 1)) {
        answer = PP_DONE;
    }
    struct pp_wait again;
    pp_wait_start(&again, PP_FOREVER, NULL);
    again.slept = wait.slept; /* it may have been moved to the lock's word with others */
    while (pp_lock_wait(crowd->chunk, crowd->lock, &again) != PP_DONE) {
    }
    return answer;
}

static void *be_impatient(void *argument)
{
    struct crowd *crowd = argument;
    unsigned seed = 1;
    while (!pp_load(&crowd->over)) {
        CHECK(acquire(crowd->chunk, crowd->lock, 60 * SECOND) == PP_DONE);
        (void)wait_in(crowd, rand_r(&seed) % 30000);
        CHECK(pp_lock_release(crowd->chunk, crowd->lock) == 0);
    }
    return NULL;
}

static void *be_patient(void *argument)
{
    struct crowd *crowd = argument;
    for (uint32_t round = 0; round < NOTIFICATIONS; round++) {
        CHECK(acquire(crowd->chunk, crowd->lock, 60 * SECOND) == PP_DONE);
        while (pp_load(&crowd->turn) != 2 * round + 1) {
            CHECK(wait_in(crowd, 20 * SECOND) == PP_DONE);
        }
        pp_store(&crowd->turn, 2 * round + 2);
        CHECK(pp_lock_release(crowd->chunk, crowd->lock) == 0);
    }
    return NULL;
}

static void test_notifications(void)
{
    struct crowd crowd = {NULL, NULL, NULL, 0, 0};
    pthread_t patient, impatient[3];
    crowd.condition = make(PP_CONDITION, sizeof(struct pp_cell), &crowd.chunk);
    crowd.lock = make(PP_LOCK, sizeof(struct pp_cell), &crowd.chunk);
    CHECK(pthread_create(&patient, NULL, be_patient, &crowd) == 0);
    for (int i = 0; i < 3; i++) {
        CHECK(pthread_create(&impatient[i], NULL, be_impatient, &crowd) == 0);
    }
    for (uint32_t round = 0; round < NOTIFICATIONS; round++) {
        CHECK(acquire(crowd.chunk, crowd.lock, 60 * SECOND) == PP_DONE);
        pp_store(&crowd.turn, 2 * round + 1);
        pp_condition_notify(crowd.condition, crowd.lock, 0x7fffffff);
        CHECK(pp_lock_release(crowd.chunk, crowd.lock) == 0);
        while (pp_load(&crowd.turn) != 2 * round + 2) {
            sched_yield();
        }
    }
    pthread_join(patient, NULL);
    pp_store(&crowd.over, 1);
    for (int i = 0; i < 3; i++) {
        pthread_join(impatient[i], NULL);
    }
    CHECK(pp_condition_waiting(crowd.condition) == 0);
}

/* -- a batch that is taken back while it runs -- */

#define BATCHES 20000
#define CHUNKS 8

static struct {
    pp_word turn, running; /* the batch that the worker is about to begin, or has begun */
    pp_word begun[BATCHES + 1];
} batches;

static void *work_through(void *ignored)
{
    for (uint16_t place = 1; place <= BATCHES; place++) {
        pp_store(&batches.running, place);
        pp_batch_begin(&batches.turn, place);
        int begun = 0;
        while (begun < CHUNKS && pp_batch_claim(&batches.turn)) {
            begun++;
        }
        pp_store(&batches.begun[place], 1 + (uint32_t)begun);
    }
    return ignored;
}

static void test_turns(void)
{
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, work_through, NULL) == 0);
    uint32_t last = 0;
    int closed = 0;
    while (last < BATCHES) {
        uint32_t place = pp_load(&batches.running);
        if (place == last) {
            pp_pause();
            continue;
        }
        last = place;
        int begun = place == 0 ? -1 : pp_batch_close(&batches.turn, (uint16_t)place);
        if (begun < 0) {
            continue;
        }
        uint32_t told;
        while ((told = pp_load(&batches.begun[place])) == 0) {
            pp_pause();
        }
        CHECK((int)told - 1 == begun); /* what it says was begun was, and nothing else */
        closed++;
    }
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK(closed > 0);
}

/* Looks that find nothing are few: a long one after so many waits, less and less often. One that finds something is
 * remembered, until some have found nothing. */
static void test_looks(void)
{
    pp_word spins = PP_SPIN_START;
    uint64_t looks = 0;
    int long_looks = 0;
    for (int i = 0; i < 10240; i++) {
        uint32_t limit = pp_spin_limit(&spins, PP_MAX_SPINS);
        looks += limit;
        long_looks += limit == PP_MAX_SPINS;
        CHECK(limit <= PP_SPIN_START || limit == PP_MAX_SPINS);
        pp_spin_learn(&spins, limit, PP_MAX_SPINS, 0);
    }
    CHECK(long_looks == 13); /* after 16, 64, 256, and every 1024 */
    CHECK(looks < 13 * PP_MAX_SPINS + 1000);
    pp_spin_learn(&spins, 1000, PP_MAX_SPINS, 1);
    CHECK(pp_spin_limit(&spins, PP_MAX_SPINS) > 1000);
    pp_spin_learn(&spins, 1133, PP_MAX_SPINS, 0);
    CHECK(pp_spin_limit(&spins, PP_MAX_SPINS) > 700);
    spins = PP_SPIN_NEVER;
    pp_spin_learn(&spins, 0, PP_MAX_SPINS, 1);
    CHECK(pp_spin_limit(&spins, PP_MAX_SPINS) == 0);
}

struct awaited {
    uint32_t asked, ready_at; /* it is ready when asked so often */
};

static int is_awaited(void *what)
{
    struct awaited *awaited = (struct awaited *)what;
    return ++awaited->asked >= awaited->ready_at;
}

/* How many waits there are up to one that lets others run, in vain. */
static uint32_t waits_until_a_yield(struct pp_spin *spin)
{
    uint32_t waits = 1;
    while (!pp_yield_is_due(spin)) {
        waits++;
    }
    pp_yield_learn(spin, 0, 0);
    return waits;
}

/* Others are let run before each sleep while that pays, more and more seldom while it does not, and next to never where
 * they keep the processor. */
static void test_yields(void)
{
    struct pp_spin spin;
    pp_spin_start(&spin);
    const uint32_t first[] = {64, 256, 1024, 4096, 4096};
    for (size_t i = 0; i < sizeof first / sizeof *first; i++) {
        CHECK(waits_until_a_yield(&spin) == first[i]);
    }
    pp_yield_learn(&spin, 0, 1);
    CHECK(pp_yield_is_due(&spin) && pp_yield_is_due(&spin));
    const uint32_t again[] = {1, 1, 4, 16}; /* once in vain is nothing */
    for (size_t i = 0; i < sizeof again / sizeof *again; i++) {
        CHECK(waits_until_a_yield(&spin) == again[i]);
    }
    pp_yield_learn(&spin, PP_YIELD_MOMENT + 1, 1);
    CHECK(waits_until_a_yield(&spin) == 65536);
}

/* What is there already costs no yield, which others may answer by keeping the processor. */
static void test_what_is_there_waits_for_nobody(void)
{
    struct pp_spin spin;
    pp_store_own(&spin.looks, PP_SPIN_NEVER);
    pp_store_own(&spin.yields, PP_YIELD_PAYS);
    struct awaited there = {0, 1}, comes = {0, 2}, never = {0, UINT32_MAX};
    CHECK(pp_spin_until(is_awaited, &there, &spin, PP_MAX_SPINS) && there.asked == 1);
    CHECK(pp_spin_until(is_awaited, &comes, &spin, PP_MAX_SPINS) && comes.asked == 2);
    pp_store_own(&spin.yields, PP_YIELD_PAYS); /* beside other work that may have been found to take too long */
    CHECK(!pp_spin_until(is_awaited, &never, &spin, PP_MAX_SPINS) && never.asked == 2);
    CHECK(pp_load_own(&spin.yields) != PP_YIELD_PAYS);
}

/* A process that is tied to one processor looks too: its partner may be tied to another. */
static void test_processors(void)
{
    cpu_set_t before, one;
    uint32_t known = pp_load_own(&pp_facts->processors);
    CHECK(sched_getaffinity(0, sizeof before, &before) == 0);
    CPU_ZERO(&one);
    for (int i = 0; i < CPU_SETSIZE && CPU_COUNT(&one) == 0; i++) {
        if (CPU_ISSET(i, &before)) {
            CPU_SET(i, &one);
        }
    }
    CHECK(sched_setaffinity(0, sizeof one, &one) == 0);
    pp_store_own(&pp_facts->processors, 0);
    CHECK(pp_processors() == (int)sysconf(_SC_NPROCESSORS_ONLN));
    pp_store_own(&pp_facts->processors, known);
    CHECK(sched_setaffinity(0, sizeof before, &before) == 0);
}

int main(int count, char **words)
{
    (void)words;
    test_threads();
    test_sleepers();
    test_notifications();
    test_turns();
    test_looks();
    test_yields();
    test_what_is_there_waits_for_nobody();
    test_processors();
    if (count == 1) { /* with a word: the threads alone, for ThreadSanitizer, which does not like fork */
        test_processes();
        test_deaths();
        test_thread_that_registered();
        test_forks();
        test_recovery_lets_nobody_in_but_who_recovers();
        test_robust_mutexes_beside_ours();
        test_hand_over();
        test_hostile_memory();
        test_hostile_registry(); /* last: nobody is who it was */
    }
    puts("test_sync: ok");
    return 0;
}
