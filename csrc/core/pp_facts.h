/* Facts about the process: memory that is zero again in a child, however it was forked.
 *
 * Who this process is in a registry, which thread of it the kernel watches, which mutexes its threads hold: a child that
 * inherits one of these takes itself for its parent. No path forgets to reset them, since nobody has to: the kernel gives
 * a child zeroes (MADV_WIPEONFORK of madvise(2), Linux 4.14), after fork(3) as after a raw clone(2). A handler of
 * pthread_atfork(3) looks whether it did, and wipes where it did not; it is there from when the core is loaded, not from
 * when something is first made.
 *
 * A child of vfork(2) runs in its parent's memory: it is the parent until it calls execve(2), and may do nothing else.
 */
#ifndef PP_FACTS_H
#define PP_FACTS_H

#include <pthread.h>
#include <stddef.h>

#include "core/pp_atomic.h"

/* All zeroes is how a mutex begins (PTHREAD_MUTEX_INITIALIZER). */
struct pp_facts {
    pp_word mark;  /* not zero in a child: the kernel does not wipe */
    pp_word birth; /* pp_birth() */
    pp_word processors; /* pp_processors() */
    pthread_mutex_t registry_guard;
    pthread_mutex_t chunk_guard;
    pthread_mutex_t view_guard;
};

extern struct pp_facts *pp_facts;

/* Zeroed memory for more of them, for good; NULL and ENOMEM. One caller at a time. */
void *pp_facts_alloc(size_t size);

/* A number that is another in a forked child. */
uint32_t pp_birth(void);

/* In a forked child: wipe, if the kernel has not. Runs by itself after fork(3). */
void pp_facts_reborn(void);

#endif
