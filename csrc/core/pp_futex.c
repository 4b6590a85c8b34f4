#define _GNU_SOURCE
#include "core/pp_futex.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <sched.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "core/pp_facts.h"

#ifndef SYS_futex_waitv
#define SYS_futex_waitv 449
#endif

/* As in <linux/futex.h> of Linux 5.16, which older headers lack. */
struct waiter {
    uint64_t value;
    uint64_t address;
    uint32_t flags;
    uint32_t reserved;
};

#define WAITER_32_BITS 2

int64_t pp_now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

int pp_processors(void)
{
    uint32_t known = pp_load_own(&pp_facts->processors);
    if (known == 0) {
        cpu_set_t set;
        known = sched_getaffinity(0, sizeof set, &set) == 0 ? (uint32_t)CPU_COUNT(&set) : 1;
        if (known == 1) { /* tied to one: whoever it waits for may be tied to another */
            long online = sysconf(_SC_NPROCESSORS_ONLN);
            known = online > 1 ? (uint32_t)online : 1;
        }
        pp_store_own(&pp_facts->processors, known);
    }
    return (int)known;
}

static struct timespec *as_timespec(int64_t deadline, struct timespec *time)
{
    if (deadline == PP_FOREVER) {
        return NULL;
    }
    if (deadline < 0) {
        deadline = 0;
    }
    time->tv_sec = (time_t)(deadline / 1000000000);
    time->tv_nsec = (long)(deadline % 1000000000);
    return time;
}

int pp_futex_wait(pp_word *word, uint32_t value, int64_t deadline)
{
    struct timespec time;
    long result = syscall(SYS_futex, word, FUTEX_WAIT_BITSET, value, as_timespec(deadline, &time), NULL,
                          FUTEX_BITSET_MATCH_ANY);
    if (result == 0 || errno == EAGAIN) {
        return 0;
    }
    return errno == ETIMEDOUT || errno == EINTR ? errno : 0;
}

int pp_futex_wait_two(pp_word *word, uint32_t value, pp_word *other, uint32_t other_value, int64_t deadline)
{
    static _Atomic int missing; /* a fact about this kernel */
    struct timespec time;
    struct waiter waiters[2] = {
        {value, (uint64_t)(uintptr_t)word, WAITER_32_BITS, 0},
        {other_value, (uint64_t)(uintptr_t)other, WAITER_32_BITS, 0},
    };
    if (missing) {
        return -ENOSYS;
    }
    long result = syscall(SYS_futex_waitv, waiters, 2, 0, as_timespec(deadline, &time), CLOCK_MONOTONIC);
    if (result >= 0) {
        return (int)result;
    }
    if (errno == EAGAIN) {
        return 2;
    }
    if (errno == ETIMEDOUT || errno == EINTR) {
        return -errno;
    }
    missing = 1;
    return -ENOSYS;
}

int pp_futex_wake(pp_word *word, int count)
{
    long woken = syscall(SYS_futex, word, FUTEX_WAKE, count, NULL, NULL, 0);
    return woken < 0 ? 0 : (int)woken;
}

int pp_futex_requeue(pp_word *word, uint32_t value, pp_word *target, int wake, int count)
{
    long moved = syscall(SYS_futex, word, FUTEX_CMP_REQUEUE, wake, (uintptr_t)(unsigned)count, target, value);
    return moved < 0 ? -1 : (int)moved;
}
