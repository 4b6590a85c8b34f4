/* Who is alive: one slot for each process of a family, and tags that name a slot's tenant.
 *
 * Everything that survives a kill rests on one question: is the process that wrote this tag still alive?
 *
 *   registry (an anonymous file, mapped by all)          tag, as it stands in lock words
 *   +-----------------------------+                       31        30 .. 12      11 .. 0
 *   | header: magic, layout, id   |                      +---------+-------------+---------+
 *   | slot 1 : alive gen pid ...  | <------------------- | waiters | generation  |  slot   |     0: nobody
 *   | slot 2                      |                      +---------+-------------+---------+
 *   | ...  4095                   |
 *   +-----------------------------+
 *
 * `alive` is a robust mutex (pthread_mutexattr_setrobust(3)) that its process takes once and never gives back. When
 * the process ends, however it does, the kernel sets FUTEX_OWNER_DIED in its first word and wakes one who waits for
 * it. That needs no process id, so there is no trouble with ids that are used again.
 *
 * The kernel speaks of the *thread* that took the mutex, though. So a slot that is said to be dead is looked at again:
 * if its process (by pidfd and start time) still runs, it is alive, and it takes its mutex again at its next wait.
 * Both pp_is_dead and the search for a free slot do so: a newcomer that trusted the bit would steal a live owner's slot,
 * and with it every lock that the owner holds.
 *
 * What a dead process leaves behind: its slot, until somebody takes it. Killed while it takes one ("registry.claimed",
 * before the new generation is there): the slot is dead with the old generation, which is what it was before.
 */
#ifndef PP_REGISTRY_H
#define PP_REGISTRY_H

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>

#include "core/pp_atomic.h"

#define PP_TAG_WAITERS 0x80000000u
#define PP_TAG_MASK 0x7fffffffu
#define PP_SLOTS 4096

/* A process's side of a registry. The list of them is a fact about the process: which memory it has mapped. */
struct pp_registry {
    struct pp_registry *next;
    struct pp_registry_page *page;
    int fd;
    unsigned char id[16];
    pp_word me;   /* this process's tag, 0 until it is needed */
    pp_word held; /* plain locks that this process holds: see pp_registry_leave */
};

/* The registry of this family, made when first asked for. NULL and errno when there is no memory or descriptor. */
struct pp_registry *pp_registry_own(void);

/* The registry behind a descriptor that came from another process; a duplicate of the descriptor is kept. NULL and EINVAL
 * if it is none of ours. */
struct pp_registry *pp_registry_attach(int fd);

/* The tag of this process; registers it if need be. 0 and errno when every slot is taken (EAGAIN). */
uint32_t pp_registry_enter(struct pp_registry *registry);

static inline uint32_t pp_tag(struct pp_registry *registry)
{
    uint32_t me = pp_load_own(&registry->me);
    return me != 0 ? me : pp_registry_enter(registry);
}

/* Whether the process that a tag names is dead, for sure. The bit for waiters does not matter. */
int pp_is_dead(struct pp_registry *registry, uint32_t tag);

/* The pid that a tag names, 0 if it cannot be told. */
int32_t pp_pid_of(struct pp_registry *registry, uint32_t tag);

/* The word that changes when the process of a tag dies, with the kernel asked to wake who waits for it; NULL if there is
 * none to wait for. *value is what the word holds now. */
pp_word *pp_alive_word(struct pp_registry *registry, uint32_t tag, uint32_t *value);

/* Before a wait: the thread that took our slot may have ended, and the kernel says that we are dead. Take it again. */
void pp_registry_rearm(struct pp_registry *registry);

/* In a forked child: it is nobody yet. Runs by itself after fork(3), not after a raw clone(2). */
void pp_registry_reborn(void);

/* Changes in a forked child: what holds for one process alone is told by it. */
uint32_t pp_registry_births(void);

/* At an orderly end: a process that still holds plain locks may mean to, since any other may release them; its slot is
 * then never given to another, and its tag counts as alive for good. */
void pp_registry_leave(void);

#endif
