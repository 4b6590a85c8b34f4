/* The core without Python, for the sanitizers: a "client" process starts a "fork server", which makes a sibling. */
#define _GNU_SOURCE
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/check.h"
#include "core/pp_clone.h"

static void *answer(void *unused)
{
    (void)unused;
    return (void *)42;
}

static void *sleeper(void *unused)
{
    (void)unused;
    pause();
    return NULL;
}

/* In the sibling: everything that the C library keeps about the thread must be right. */
static void check_sibling(pid_t client)
{
    CHECK(getppid() == client);
    CHECK(gettid() == getpid());
    pthread_mutexattr_t attributes;
    pthread_mutex_t mutex;
    CHECK(pthread_mutexattr_init(&attributes) == 0);
    CHECK(pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST) == 0);
    CHECK(pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_ERRORCHECK) == 0);
    CHECK(pthread_mutex_init(&mutex, &attributes) == 0);
    CHECK(pthread_mutex_lock(&mutex) == 0);
    CHECK(pthread_mutex_lock(&mutex) == EDEADLK); /* the owner's tid is ours */
    CHECK(pthread_mutex_unlock(&mutex) == 0);
    pthread_t thread;
    void *value = NULL;
    CHECK(pthread_create(&thread, NULL, answer, NULL) == 0);
    CHECK(pthread_join(thread, &value) == 0 && value == (void *)42);
    pid_t grandchild = fork();
    CHECK(grandchild >= 0);
    if (grandchild == 0) {
        _exit(getppid() == getpid());
    }
    int status = 0;
    CHECK(waitpid(grandchild, &status, 0) == grandchild && status == 0);
}

static int sibling_exit_status(void)
{
    int pipe_fds[2];
    CHECK(pipe(pipe_fds) == 0);
    pid_t client = getpid();
    pid_t fork_server = fork();
    CHECK(fork_server >= 0);
    if (fork_server == 0) {
        int pidfd = -1;
        CHECK(pp_clone_ready() == 0);
        pid_t pid = pp_clone_sibling(&pidfd);
        if (pid == 0) {
            check_sibling(client);
            _exit(7);
        }
        CHECK(pid > 0 && pidfd >= 0);
        struct pollfd waited = {.fd = pidfd, .events = POLLIN};
        CHECK(poll(&waited, 1, 60000) == 1);
        CHECK(write(pipe_fds[1], &pid, sizeof pid) == sizeof pid);
        _exit(0);
    }
    pid_t sibling = 0;
    CHECK(read(pipe_fds[0], &sibling, sizeof sibling) == sizeof sibling);
    int status = 0;
    CHECK(waitpid(fork_server, &status, 0) == fork_server && status == 0);
    CHECK(waitpid(sibling, &status, 0) == sibling); /* it is our child, not the fork server's */
    close(pipe_fds[0]);
    close(pipe_fds[1]);
    return WEXITSTATUS(status);
}

static void refuses_with_threads(void)
{
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, sleeper, NULL) == 0);
    CHECK(pp_clone_ready() == EBUSY);
    CHECK(pthread_cancel(thread) == 0);
    CHECK(pthread_join(thread, NULL) == 0);
}

/* Have a copy of this process make a team, `late` or not at all; returns how many of `count` children came to run. */
static int children_of_team(int count, int is_made, int is_late)
{
    int go[2];
    CHECK(pipe(go) == 0);
    struct pp_team *team = pp_team_new(count);
    CHECK(team != NULL);
    pid_t client = getpid(), copy = fork();
    CHECK(copy >= 0);
    if (copy == 0) {
        char byte;
        close(go[1]);
        CHECK(!is_late || read(go[0], &byte, 1) == 0);
        int place = is_made ? pp_team_clone(team, "test-team") : -1;
        if (place >= 0) {
            check_sibling(client);
            _exit(10 + place);
        }
        _exit(0);
    }
    close(go[0]);
    pp_team_wait(team, copy, is_late ? 0 : 50000000000);
    close(go[1]);
    int status = 0, ran = 0;
    CHECK(waitpid(copy, &status, 0) == copy && status == 0);
    for (int place = 0; place < count; place++) {
        int pid = pp_team_place(team, place);
        if (pid > 0) {
            CHECK(waitpid(pid, &status, 0) == pid && WEXITSTATUS(status) == 10 + place);
            ran++;
        } else {
            CHECK(pid == -ECHILD);
        }
    }
    while (wait(&status) > 0) { /* who had no place has left, and ran nothing */
        CHECK(status == 0);
    }
    pp_team_drop(team);
    return ran;
}

/* A copy lets go of what the process before it hangs on by, and of nothing that has its number since. */
static void lets_go_of_its_own(void)
{
    int ends[2];
    CHECK(pipe(ends) == 0);
    int own = pp_hang_on(ends[0]);
    CHECK(own > 0);
    pid_t copy = fork();
    CHECK(copy >= 0);
    if (copy == 0) {
        pp_let_go(own);
        CHECK(fcntl(own, F_GETFD) == -1);
        CHECK(dup2(ends[0], own) == own);
        pp_let_go(own);
        CHECK(fcntl(own, F_GETFD) != -1);
        _exit(0);
    }
    int status = 0;
    CHECK(waitpid(copy, &status, 0) == copy && status == 0);
    CHECK(close(own) == 0 && close(ends[0]) == 0 && close(ends[1]) == 0);
}

int main(void)
{
    alarm(60);
    lets_go_of_its_own();
    for (int round = 0; round < 20; round++) {
        CHECK(children_of_team(3, 1, 0) == 3);
    }
    CHECK(children_of_team(2, 0, 0) == 0);
    CHECK(children_of_team(2, 1, 1) == 0);
    for (int round = 0; round < 20; round++) {
        CHECK(sibling_exit_status() == 7);
    }
    refuses_with_threads();
    printf("test_clone: ok\n");
    return 0;
}
