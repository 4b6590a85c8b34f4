#define _GNU_SOURCE
#include "core/pp_parking.h"

#include <pthread.h>
#include <unistd.h>

#include "core/pp_clone.h"

/* Whether there is nothing to do any more: no task was sent, and none will be. */
static int is_told_to_end(struct pp_queue *queue)
{
    return pp_load(&queue->page->ended) != 0 && pp_queue_size(queue) == 0;
}

static void let_go(const struct pp_parking *parking)
{
    if (parking->hang_on_writer >= 0) {
        close(parking->hang_on_writer);
    }
    for (int i = 0; i < 2; i++) {
        if (parking->others[i] >= 0) {
            close(parking->others[i]);
        }
    }
    if (parking->null >= 0) {
        dup2(parking->null, STDIN_FILENO);
    }
    for (int number = 1; number < _NSIG; number++) {
        if (sigismember(&parking->ignored, number) == 1) {
            signal(number, SIG_IGN);
        }
    }
}

static _Noreturn void end_in_order(int box)
{
    static const char returned_none[PP_RETURNED_NONE] = {1, [16] = 1};
    /* killed here: the kernel tells how it ended */
    ssize_t ignored = pwrite(box, returned_none, sizeof returned_none, 0);
    (void)ignored; /* the kernel still tells the code */
    _exit(0);
}

int pp_park_worker(const struct pp_parking *parking, const struct pp_worker *worker)
{
    int own = pp_hang_on(parking->hang_on);
    if (own < 0) {
        return -1;
    }
    if (own == 0) {
        _exit(1); /* the client is gone */
    }
    sigset_t before;
    struct pp_wait wait;
    let_go(parking);
    pthread_sigmask(SIG_SETMASK, &parking->mask, &before);
    pp_wait_start(&wait, PP_FOREVER, NULL);
    while (pp_queue_await(worker->tasks, &wait) == PP_AGAIN) {
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (is_told_to_end(worker->tasks)) {
        end_in_order(worker->box);
    }
    return own;
}
