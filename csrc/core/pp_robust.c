#define _GNU_SOURCE
#include "core/pp_robust.h"

#include <linux/futex.h>
#include <pthread.h>
#include <stddef.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "core/pp_crash.h"

#define POINTER ((long)sizeof(void *))

/* musl tells the kernel of its list when a thread takes its first robust mutex. */
static void have_list_told(void)
{
    pthread_mutexattr_t kind;
    pthread_mutex_t mutex;
    pthread_mutexattr_init(&kind);
    pthread_mutexattr_setrobust(&kind, PTHREAD_MUTEX_ROBUST);
    if (pthread_mutex_init(&mutex, &kind) == 0) {
        if (pthread_mutex_trylock(&mutex) == 0) {
            pthread_mutex_unlock(&mutex);
        }
        pthread_mutex_destroy(&mutex);
    }
    pthread_mutexattr_destroy(&kind);
}

/* The list of this thread; NULL where there is none, or one whose entries would not lie in the room. */
static struct robust_list_head *list_of_thread(void)
{
    struct robust_list_head *head = NULL;
    size_t size = 0;
    if (sizeof(void *) != 8 || syscall(SYS_get_robust_list, 0, &head, &size) != 0) {
        return NULL;
    }
    if (head == NULL) {
        have_list_told();
        if (syscall(SYS_get_robust_list, 0, &head, &size) != 0 || head == NULL) {
            return NULL;
        }
    }
    long at = -head->futex_offset;
    return at - POINTER >= (long)sizeof(pp_word) && at + POINTER <= PP_ROBUST_ROOM ? head : NULL;
}

static uint32_t thread(void) { return (uint32_t)syscall(SYS_gettid); }

/* killed here: the list is this thread's own, and what it says is about to be added is looked at, too */
static void say(void **place, void *value) { __atomic_store_n(place, value, __ATOMIC_SEQ_CST); }

static void *entry_of(struct robust_list_head *head, void *room) { return (char *)room - head->futex_offset; }

int pp_robust_is_there(void) { return list_of_thread() != NULL; }

int pp_robust_claim(void *room, uint32_t before)
{
    struct robust_list_head *head = list_of_thread();
    if (head != NULL) {
        say((void **)&head->list_op_pending, entry_of(head, room));
    }
    int claimed = pp_cas(room, before, thread());
    if (claimed) {
        PP_CRASH_POINT("registry.claimed");
    } else if (head != NULL) {
        say((void **)&head->list_op_pending, NULL);
    }
    return claimed;
}

/* Only the word's owner changes it, but for the bit of those who wait. */
static void let_go(void *room)
{
    uint32_t now;
    do {
        now = pp_load(room);
        /* killed here: that is what the kernel would say */
    } while ((now & FUTEX_TID_MASK) == thread() && !pp_cas(room, now, (now & FUTEX_WAITERS) | FUTEX_OWNER_DIED));
}

uint32_t pp_robust_keep(void *room, uint32_t there)
{
    struct robust_list_head *head = list_of_thread();
    if (head == NULL) {
        let_go(room);
        return 0;
    }
    void *entry = entry_of(head, room), *first = &head->list, *next = head->list.next;
    if (there != thread() || next == first) {
        memcpy((char *)entry - POINTER, &first, sizeof first);
        memcpy(entry, &next, sizeof next);
        if (next != first) {
            /* The lowest bit says something of the mutex. */
            memcpy((char *)((uintptr_t)next & ~(uintptr_t)1) - POINTER, &entry, sizeof entry);
        }
        say((void **)&head->list.next, entry);
    }
    say((void **)&head->list_op_pending, NULL);
    return thread();
}

void pp_robust_undo(void *room)
{
    struct robust_list_head *head = list_of_thread();
    let_go(room);
    if (head != NULL) {
        say((void **)&head->list_op_pending, NULL);
    }
}
