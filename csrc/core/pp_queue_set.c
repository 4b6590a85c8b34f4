#define _GNU_SOURCE
#include "core/pp_queue_set.h"

#include "core/pp_sleep.h"

static uint32_t put(struct pp_queue *queue) { return pp_items(pp_load64(&queue->page->tail)); }

static uint32_t taken(struct pp_queue *queue) { return pp_items(pp_load64(&queue->page->head)); }

static int has_items(struct pp_queue *queue) { return put(queue) != taken(queue); }

/* Whether there is something that was there when it was marked. */
static int has_marked(struct pp_queue *queue) { return (int32_t)(queue->mark - taken(queue)) > 0; }

int64_t pp_queue_set_next(struct pp_queue_set *set)
{
    struct pp_queue *waker = set->waker;
    for (;;) {
        if (!waker->is_marked && has_items(waker)) {
            waker->mark = put(waker); /* first: what was put elsewhere before it is seen now */
            for (uint32_t i = 0; i < set->count; i++) {
                set->queues[i]->mark = put(set->queues[i]);
            }
            waker->is_marked = 1;
        }
        uint32_t place = set->turn < set->count ? set->turn : 0;
        for (uint32_t i = 0; i < set->count; i++) {
            struct pp_queue *queue = set->queues[place];
            uint32_t here = place;
            place = place + 1 < set->count ? place + 1 : 0;
            if (!pp_load(&queue->lent) && (waker->is_marked ? has_marked(queue) : has_items(queue))) {
                set->turn = place;
                return here;
            }
        }
        if (!waker->is_marked) {
            return -1;
        }
        if (has_marked(waker)) {
            return set->count;
        }
        waker->is_marked = 0;
    }
}

int pp_queue_set_has_items(struct pp_queue_set *set)
{
    for (uint32_t i = 0; i < set->count; i++) {
        if (has_items(set->queues[i]) && !pp_load(&set->queues[i]->lent)) {
            return 1;
        }
    }
    return has_items(set->waker);
}

static int is_ready(struct pp_queue *waker, struct pp_wait *wait)
{
    (void)waker;
    return pp_queue_set_has_items(((struct pp_set_wait *)wait)->set);
}

enum pp_answer pp_queue_set_await(struct pp_set_wait *wait)
{
    struct pp_queue *waker = wait->set->waker;
    if (pp_queue_set_has_items(wait->set)) {
        return PP_DONE;
    }
    return pp_sleep_on(waker, &waker->page->items, &waker->page->items_asleep, is_ready, &wait->wait);
}

/* -- lending -- */

uint32_t pp_queue_lend(struct pp_queue *queue)
{
    queue->times_lent += queue->times_lent == UINT32_MAX ? 2 : 1;
    pp_store(&queue->lent, queue->times_lent); /* killed here: it is this process's own */
    pp_store(&queue->page->lent, 1);           /* killed here: with its only consumer */
    return queue->times_lent;
}

int pp_queue_call_in(struct pp_queue *queue, int wakes)
{
    pp_store(&queue->lent, 0);       /* killed here: as above */
    pp_store(&queue->page->lent, 0); /* killed here: as above */
    if (wakes) {
        pp_wake_all(&queue->page->items, &queue->page->items_asleep);
    }
    return has_items(queue);
}

static int is_there_or_called_in(struct pp_queue *queue, struct pp_wait *wait)
{
    return has_items(queue) || pp_load(&queue->lent) != ((struct pp_lent_wait *)wait)->time;
}

enum pp_answer pp_queue_await_lent(struct pp_queue *queue, struct pp_lent_wait *wait)
{
    if (pp_load(&queue->lent) != wait->time) {
        return PP_ENDED;
    }
    if (has_items(queue)) {
        return PP_DONE;
    }
    enum pp_answer answer =
        pp_sleep_on(queue, &queue->page->items, &queue->page->items_asleep, is_there_or_called_in, &wait->wait);
    return answer == PP_AGAIN && !wait->wait.slept && has_items(queue) ? PP_DONE : answer; /* it span: it is here */
}
