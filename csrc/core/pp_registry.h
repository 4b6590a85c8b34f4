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
 * `alive` is the id of one thread of the process, on that thread's list of robust futexes (pp_robust.h). When the process
 * ends, however it does, the kernel sets FUTEX_OWNER_DIED in it and wakes one who waits for it. That needs no process id,
 * so there is no trouble with ids that are used again.
 *
 * The kernel speaks of the *thread*, though. So a slot that is said to be dead is looked at again: if its process (by pidfd
 * and start time) still runs, it is alive, and another of its threads is put in at its next wait. Both pp_is_dead and the
 * search for a free slot do so: a newcomer that trusted the bit would steal a live owner's slot, and with it every lock
 * that the owner holds. It also looks whether the generation is what it was before the look: else the slot that it found
 * free has been taken and left by the thread that took it meanwhile.
 *
 * What a dead process leaves behind: its slot, until somebody takes it. Killed while it takes one ("registry.claimed",
 * before the new generation is there; "registry.renamed", before it says whose it is): the slot is dead, and nobody has
 * the tag. "registry.settled": the slot is dead, the hint is old.
 *
 * Who this process is stands in pp_facts: in a forked child it is nobody, whichever way it was forked, and gets a slot of
 * its own when it first needs one.
 */
#ifndef PP_REGISTRY_H
#define PP_REGISTRY_H

#include <stddef.h>
#include <stdint.h>

#include "core/pp_atomic.h"
#include "core/pp_fd.h"

#define PP_TAG_WAITERS 0x80000000u
#define PP_TAG_MASK 0x7fffffffu
#define PP_SLOTS 4096

/* A tag that is nobody's and never dies: a Lock that was held when its process came to an orderly end, for another to
 * release. No process has slot 0. */
#define PP_TAG_HANDED (1u << 12)

/* Who this process is in a registry; zero in a forked child (pp_facts.h). */
struct pp_tenant {
    pp_word me;      /* its tag, 0 until it is needed */
    pp_word watched; /* the thread whose death the kernel tells of */
};

/* A process's side of a registry. The list of them is a fact about what it has mapped, which a forked child has, too. */
struct pp_registry {
    struct pp_registry *next;
    struct pp_registry_page *page;
    struct pp_tenant *tenant;
    struct pp_fd fd;
    unsigned char id[16];
};

/* Its descriptor, to be used at once: see pp_chunk_fd. */
static inline int pp_registry_fd(struct pp_registry *registry) { return pp_fd_of(&registry->fd, registry->page); }

/* The registry of this family, made when first asked for. NULL and errno when there is no memory or descriptor. */
struct pp_registry *pp_registry_own(void);

/* The registry behind a descriptor that came from another process; a duplicate of the descriptor is kept. NULL and EINVAL
 * if it is none of ours. */
struct pp_registry *pp_registry_attach(int fd);

/* The tag of this process; registers it if need be. 0 and errno when every slot is taken (EAGAIN). */
uint32_t pp_registry_enter(struct pp_registry *registry);

/* The tag that it has, 0 for none. Nothing else may be taken for this process. */
static inline uint32_t pp_me(struct pp_registry *registry) { return pp_load_own(&registry->tenant->me); }

static inline uint32_t pp_tag(struct pp_registry *registry)
{
    uint32_t me = pp_me(registry);
    return me != 0 ? me : pp_registry_enter(registry);
}

/* Whether the process that a tag names is dead, for sure. The bit for waiters does not matter. */
int pp_is_dead(struct pp_registry *registry, uint32_t tag);

/* The pid that a tag names, 0 if it cannot be told. */
int32_t pp_pid_of(struct pp_registry *registry, uint32_t tag);

/* The word that changes when the process of a tag dies, with the kernel asked to wake who waits for it; NULL if there is
 * none to wait for. *value is what the word holds now. */
pp_word *pp_alive_word(struct pp_registry *registry, uint32_t tag, uint32_t *value);

/* Before a wait: the thread that the kernel watches may have ended, and it says that we are dead. Have it watch this one. */
void pp_registry_rearm(struct pp_registry *registry);

#endif
