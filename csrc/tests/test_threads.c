/* What the binding to Python rests on where there is no GIL, for ThreadSanitizer: a descriptor that some threads use while
 * another closes it; handles to shared memory that come and go; a Lock that threads of one process take by turns. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/pp_chunk.h"
#include "core/pp_handle.h"
#include "core/pp_lock.h"
#include "tests/check.h"

#define SECOND 1000000000LL
#define ROUNDS 400
#define USERS 3

/* -- a descriptor -- */

static struct pp_handle handle;
static pp_word is_over, uses;
static pp_word64 ours; /* the file that whoever uses the handle may see */

static void open_ours(void)
{
    struct stat info;
    int number = (int)syscall(SYS_memfd_create, "polyproc-test", 1u);
    CHECK(number >= 0 && fstat(number, &info) == 0);
    pp_store64(&ours, (uint64_t)info.st_ino);
    CHECK(pp_handle_set(&handle, number) == 0);
}

/* Under its number there is this file, or one that can do nothing: never another. */
static void *use(void *ignored)
{
    (void)ignored;
    while (!pp_load(&is_over)) {
        uint64_t before = pp_load64(&ours);
        int number = pp_handle_use(&handle);
        if (number < 0) {
            continue;
        }
        struct stat info;
        CHECK(fstat(number, &info) == 0);
        int is_barred = (fcntl(number, F_GETFL) & O_PATH) != 0;
        CHECK(is_barred || (uint64_t)info.st_ino == before || (uint64_t)info.st_ino == pp_load64(&ours));
        pp_add(&uses, 1);
        pp_handle_leave(&handle);
    }
    return NULL;
}

/* Takes the lowest number that is free, as any other thread of a program may. */
static void *open_others(void *ignored)
{
    (void)ignored;
    while (!pp_load(&is_over)) {
        int number = open("/dev/null", O_RDONLY | O_CLOEXEC);
        CHECK(number >= 0);
        close(number);
    }
    return NULL;
}

static void a_number_is_never_anothers(void)
{
    pthread_t all[USERS + 1];
    pp_handle_start(&handle);
    open_ours();
    for (int i = 0; i <= USERS; i++) {
        CHECK(pthread_create(&all[i], NULL, i < USERS ? use : open_others, NULL) == 0);
    }
    for (int i = 0; i < ROUNDS; i++) {
        uint32_t seen = pp_load(&uses);
        while (pp_load(&uses) == seen) {
            pp_pause();
        }
        pp_handle_close(&handle);
        CHECK(pp_handle_number(&handle) < 0 && pp_handle_use(&handle) < 0);
        pp_handle_close(&handle); /* a second time is nothing */
        while ((pp_load64(&handle.word) >> 32 & 0xffff) != 0) {
            pp_pause();
        }
        open_ours();
    }
    pp_store(&is_over, 1);
    for (int i = 0; i <= USERS; i++) {
        pthread_join(all[i], NULL);
    }
    int number = pp_handle_number(&handle);
    pp_handle_close(&handle);
    CHECK(number >= 0 && fcntl(number, F_GETFD) < 0 && errno == EBADF); /* closed with its last user */
}

/* What threads of a parent do is not done in a forked child: it closes for good. */
static void a_child_has_no_users(void)
{
    int status, ends[2];
    CHECK(pipe(ends) == 0);
    pp_handle_start(&handle);
    CHECK(pp_handle_set(&handle, ends[1]) == 0 && pp_handle_use(&handle) == ends[1]);
    pid_t child = fork();
    if (child == 0) {
        pp_handle_close(&handle);
        _exit(fcntl(ends[1], F_GETFD) < 0 && pp_handle_use(&handle) < 0 ? 0 : 1);
    }
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    pp_handle_close(&handle);
    CHECK(fcntl(ends[1], F_GETFL) >= 0); /* the number is kept for who uses it, */
    char byte;
    CHECK(read(ends[0], &byte, 1) == 0); /* and its file is closed: nobody can write there any more */
    CHECK(pp_handle_set(&handle, ends[0]) < 0 && errno == EBUSY);
    pp_handle_leave(&handle);
    CHECK(fcntl(ends[1], F_GETFL) < 0);
    close(ends[0]);
}

/* -- handles to memory, and a Lock -- */

static struct pp_chunk *chunk;
static uint32_t offset;
static uint64_t counted; /* under the Lock */

static void *come_and_go(void *ignored)
{
    (void)ignored;
    struct pp_spin spin;
    pp_spin_start(&spin);
    for (int i = 0; i < ROUNDS; i++) {
        struct pp_chunk *mine = NULL, *same = pp_chunk_find(chunk->id);
        CHECK(same == chunk && pp_chunk_alloc(sizeof(struct pp_cell), PP_EVENT, &mine) != 0);
        struct pp_cell *cell = pp_chunk_cell(same, offset, PP_LOCK, sizeof *cell);
        struct pp_wait wait;
        enum pp_answer answer = pp_lock_try(same, cell);
        pp_wait_start(&wait, pp_now() + 60 * SECOND, &spin);
        while (answer == PP_AGAIN) {
            answer = pp_lock_wait(same, cell, &wait);
        }
        CHECK(answer == PP_DONE);
        uint64_t thread = (uint64_t)(uintptr_t)pthread_self();
        pp_lock_own(same, cell, thread, 1);
        CHECK(pp_lock_is_mine(same, cell, thread) && pp_chunk_note(same, offset));
        counted++;
        CHECK(pp_lock_give(same, cell) == 0);
        pp_chunk_drop(mine);
        pp_chunk_drop(same);
    }
    return NULL;
}

static void handles_come_and_go(void)
{
    pthread_t all[USERS];
    offset = pp_chunk_alloc(sizeof(struct pp_cell), PP_LOCK, &chunk);
    CHECK(offset != 0);
    for (int i = 0; i < USERS; i++) {
        CHECK(pthread_create(&all[i], NULL, come_and_go, NULL) == 0);
    }
    for (int i = 0; i < USERS; i++) {
        pthread_join(all[i], NULL);
    }
    CHECK(counted == USERS * ROUNDS);
    pp_chunk_drop(chunk);
}

int main(void)
{
    a_child_has_no_users();
    a_number_is_never_anothers();
    handles_come_and_go();
    puts("threads: fine");
    return 0;
}
