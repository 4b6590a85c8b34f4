/* Workers that wait in C for their first task. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"
#include "core/pp_parking.h"
#include "core/pp_registry.h"

static struct pp_queue queue;
static int lifeline[2], box, other;

/* What a child returns that was told of a task: it hangs on, and has let go of what it was to let go of. */
static int runs_on(struct pp_parking *parking, struct pp_worker *worker)
{
    sigset_t all, blocked;
    struct sigaction action;
    sigfillset(&all);
    CHECK(sigprocmask(SIG_SETMASK, &all, NULL) == 0);
    int own = pp_park_worker(parking, worker);
    CHECK(own > 0 && fcntl(own, F_GETSIG) == SIGKILL);
    CHECK(fcntl(lifeline[1], F_GETFD) == -1 && fcntl(other, F_GETFD) == -1 && fcntl(lifeline[0], F_GETFD) != -1);
    CHECK(sigprocmask(SIG_SETMASK, NULL, &blocked) == 0 && sigismember(&blocked, SIGTERM));
    CHECK(sigaction(SIGINT, NULL, &action) == 0 && action.sa_handler == SIG_IGN);
    return 7;
}

static pid_t parked(void)
{
    struct pp_parking parking = {lifeline[0], lifeline[1], {other, -1}, -1, {{0}}, {{0}}};
    struct pp_worker worker = {&queue, box};
    sigemptyset(&parking.mask);
    sigemptyset(&parking.ignored);
    sigaddset(&parking.ignored, SIGINT);
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        _exit(runs_on(&parking, &worker));
    }
    return pid;
}

static int end_of(pid_t pid)
{
    int status;
    CHECK(waitpid(pid, &status, 0) == pid);
    return status;
}

static void put(const char *text)
{
    struct pp_wait wait;
    struct pp_record record = {.kind = PP_BYTES, .bytes = text, .length = (uint32_t)strlen(text), .tag = 1};
    pp_wait_start(&wait, PP_FOREVER, NULL);
    CHECK(pp_queue_put(&queue, &record, &wait) == PP_DONE);
}

static void end_queue(void)
{
    struct pp_wait wait;
    pp_wait_start(&wait, PP_FOREVER, NULL);
    CHECK(pp_queue_end(&queue, &wait) == PP_DONE);
}

static void take(void)
{
    struct pp_wait wait;
    struct pp_record record;
    pp_wait_start(&wait, PP_FOREVER, NULL);
    CHECK(pp_queue_begin_get(&queue, &record, &wait) == PP_DONE);
    pp_queue_commit_get(&queue, &record, &wait);
}

int main(void)
{
    alarm(60);
    CHECK(pp_registry_own() != NULL && pp_queue_make(&queue, 0, 0));
    CHECK(pipe2(lifeline, O_CLOEXEC) == 0);
    box = memfd_create("box", MFD_CLOEXEC);
    other = dup(box);
    CHECK(box >= 0 && other >= 0);
    char noted[PP_RETURNED_NONE + 1];

    /* a task: sent before it waits, and while it does */
    for (int round = 0; round < 20; round++) {
        pid_t pid = parked();
        usleep(round % 2 * 2000);
        put("a task");
        int status = end_of(pid);
        CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 7);
        take();
    }
    /* signals: what is ignored, and what ends it */
    pid_t pid = parked();
    CHECK(kill(pid, SIGTERM) == 0);
    int status = end_of(pid);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM);

    CHECK(pread(box, noted, sizeof noted, 0) == 0);
    /* a task that was sent before its queue was shut down is a task */
    put("a task");
    end_queue();
    status = end_of(parked());
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 7 && pread(box, noted, sizeof noted, 0) == 0);
    take();
    /* told to end: an exit code of 0, also in its box */
    status = end_of(parked());
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    CHECK(pread(box, noted, sizeof noted, 0) == PP_RETURNED_NONE && noted[0] == 1 && noted[16] == 1);
    /* its client is gone */
    pp_queue_drop(&queue);
    CHECK(pp_queue_make(&queue, 0, 0));
    pid = parked();
    int spare = open("/dev/null", O_RDONLY | O_CLOEXEC);
    CHECK(spare >= 0 && close(lifeline[1]) == 0);
    status = end_of(pid);
    CHECK((WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) || (WIFEXITED(status) && WEXITSTATUS(status) == 1));
    printf("test_parking: ok\n");
    return 0;
}
