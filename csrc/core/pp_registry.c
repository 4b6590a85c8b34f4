#define _GNU_SOURCE
#include "core/pp_registry.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "core/pp_crash.h"
#include "core/pp_futex.h"
#include "core/pp_facts.h"
#include "core/pp_memfd.h"
#include "core/pp_robust.h"

#define MAGIC 0x70707265u
#define LAYOUT 2
#define GENERATIONS 0x7ffffu

#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif

struct slot {
    pp_word alive;
    unsigned char robust[PP_ROBUST_ROOM - sizeof(pp_word)];
    pp_word generation;
    pp_word pid;
    pp_word64 start_time;
    pp_word64 pid_namespace;
    unsigned char unused[128 - PP_ROBUST_ROOM - 24];
};

_Static_assert(sizeof(struct slot) == 128, "the layout of a slot is shared");

struct pp_registry_page {
    uint32_t magic;
    uint32_t layout;
    unsigned char id[16];
    pp_word hint; /* where the last free slot was found */
    unsigned char unused[100];
    struct slot slots[PP_SLOTS];
};

static struct pp_registry *registries;
static struct pp_registry *own; /* whose memory new objects are of */

#define ENDED UINT64_MAX

/* Field 22 of its stat in /proc, in clock ticks since the system started; ENDED for a zombie, 0 if nothing is told of it. */
static uint64_t start_time_of(pid_t pid)
{
    char path[48], text[1024];
    /* That of the first thread says the same, and an emulator (qemu-user) does not make it up for who asks of itself. */
    snprintf(path, sizeof path, "/proc/%d/task/%d/stat", (int)pid, (int)pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return 0;
    }
    ssize_t size = read(fd, text, sizeof text - 1);
    close(fd);
    if (size <= 0) {
        return 0;
    }
    text[size] = '\0';
    char *place = strrchr(text, ')'); /* the name before it may hold anything */
    int is_zombie = 0;
    for (int field = 2; place != NULL && field < 22; field++) {
        place = strchr(place + 1, ' ');
        if (place != NULL && field + 1 == 3) {
            is_zombie = place[1] == 'Z' || place[1] == 'X';
        } else if (place != NULL && field + 1 == 20) {
            is_zombie = is_zombie && strtol(place, NULL, 10) <= 1; /* else its other threads run */
        }
    }
    return place == NULL ? 0 : is_zombie ? ENDED : strtoull(place, NULL, 10);
}

static uint64_t own_namespace(void)
{
    struct stat info;
    return stat("/proc/self/ns/pid", &info) == 0 ? (uint64_t)info.st_ino : 0;
}

/* Whether the process that once took a slot is gone, though it may have been one of its threads that took it. */
static int process_is_gone(struct slot *slot)
{
    pid_t pid = (pid_t)pp_load(&slot->pid);
    if (pid <= 0 || pp_load64(&slot->pid_namespace) != own_namespace()) {
        return 1; /* never was there; or not ours to look at, and the kernel has spoken */
    }
    int fd = (int)syscall(SYS_pidfd_open, pid, 0);
    if (fd >= 0) {
        struct pollfd ended = {fd, POLLIN, 0};
        int gone = poll(&ended, 1, 0) > 0;
        close(fd);
        if (gone) {
            return 1;
        }
    } else if (errno == ESRCH || (kill(pid, 0) != 0 && errno == ESRCH)) { /* an old kernel or a filter: by its number */
        return 1;
    }
    uint64_t started = start_time_of(pid); /* without a pidfd only /proc tells of a zombie */
    return started != 0 && started != pp_load64(&slot->start_time);
}

static int is_free(struct slot *slot, uint32_t alive)
{
    return (alive & FUTEX_TID_MASK) == 0 && ((alive & FUTEX_OWNER_DIED) == 0 || process_is_gone(slot));
}

static struct pp_registry *add(struct pp_registry_page *page, const unsigned char *id, int fd)
{
    struct pp_registry *registry = calloc(1, sizeof *registry);
    struct pp_tenant *tenant = registry == NULL ? NULL : pp_facts_alloc(sizeof *tenant);
    if (tenant == NULL) {
        free(registry);
        return NULL;
    }
    registry->page = page;
    registry->tenant = tenant;
    pp_fd_own(&registry->fd, fd);
    memcpy(registry->id, id, sizeof registry->id);
    registry->next = registries;
    registries = registry;
    return registry;
}

static struct pp_registry *make(void)
{
    int fd = pp_memfd("polyproc-registry", sizeof(struct pp_registry_page), 0);
    if (fd < 0) {
        return NULL;
    }
    struct pp_registry_page *page = pp_memfd_map(fd, sizeof *page);
    if (page == NULL) {
        close(fd);
        return NULL;
    }
    /* killed here: nobody else has it yet */
    page->magic = MAGIC;
    page->layout = LAYOUT;
    struct pp_registry *registry = NULL;
    if (pp_random(page->id, sizeof page->id) == 0) {
        registry = add(page, page->id, fd);
    }
    if (registry == NULL) {
        munmap(page, sizeof *page);
        close(fd);
    }
    return registry;
}

struct pp_registry *pp_registry_own(void)
{
    pthread_mutex_lock(&pp_facts->registry_guard);
    /* The family's is the first that this process has had: the last of the list. One whose descriptor is lost cannot be
     * sent any more: then there is another for what is made from now on. */
    if (own == NULL) {
        own = registries;
        while (own != NULL && own->next != NULL) {
            own = own->next;
        }
    }
    if (own == NULL || pp_registry_fd(own) < 0) {
        own = make();
    }
    struct pp_registry *found = own;
    pthread_mutex_unlock(&pp_facts->registry_guard);
    return found;
}

struct pp_registry *pp_registry_attach(int fd)
{
    struct pp_registry_page *page = pp_memfd_map(fd, sizeof *page);
    if (page == NULL) {
        return NULL;
    }
    struct pp_registry *found = NULL;
    unsigned char id[sizeof found->id];
    memcpy(id, page->id, sizeof id); /* once: somebody may write to it */
    pthread_mutex_lock(&pp_facts->registry_guard);
    if (page->magic != MAGIC || page->layout != LAYOUT) {
        errno = EINVAL;
    } else {
        for (found = registries; found != NULL; found = found->next) {
            if (memcmp(found->id, id, sizeof id) == 0) {
                break;
            }
        }
        if (found == NULL) {
            int own = fcntl(fd, F_DUPFD_CLOEXEC, 3);
            found = own < 0 ? NULL : add(page, id, own);
            if (found != NULL) {
                page = NULL;
            } else if (own >= 0) {
                close(own);
                errno = ENOMEM;
            }
        }
    }
    pthread_mutex_unlock(&pp_facts->registry_guard);
    int error = errno;
    if (page != NULL) {
        munmap(page, sizeof *page);
    }
    errno = error;
    return found;
}

/* Take a slot if it is free; returns the tag, or 0. */
static uint32_t enter(struct pp_registry *registry, uint32_t index, uint64_t start_time, uint64_t namespace)
{
    struct slot *slot = &registry->page->slots[index];
    uint32_t before = pp_load(&slot->generation);
    uint32_t alive = pp_load(&slot->alive);
    if (!is_free(slot, alive) || !pp_robust_claim(slot, alive)) {
        return 0;
    }
    if (pp_load(&slot->generation) != before) {
        pp_robust_undo(slot); /* it was free when we looked, and is that of a live process now, whose thread has ended */
        return 0;
    }
    uint32_t generation = (before + 1) & GENERATIONS;
    generation += generation == 0;
    pp_store(&slot->generation, generation); /* from here on the tags of before are dead */
    PP_CRASH_POINT("registry.renamed");
    /* killed here: the slot is dead, and nobody has its tag */
    pp_store64(&slot->start_time, start_time);
    pp_store64(&slot->pid_namespace, namespace);
    pp_store(&slot->pid, (uint32_t)getpid());
    pp_store(&registry->tenant->watched, pp_robust_keep(slot, 0));
    PP_CRASH_POINT("registry.settled");
    return index | generation << 12;
}

uint32_t pp_registry_enter(struct pp_registry *registry)
{
    struct pp_registry_page *page = registry->page;
    pthread_mutex_lock(&pp_facts->registry_guard);
    uint32_t me = pp_load(&registry->tenant->me);
    if (me == 0) {
        uint64_t start_time = start_time_of(getpid()), namespace = own_namespace();
        uint32_t hint = pp_load(&page->hint);
        for (uint32_t step = 0; me == 0 && step < PP_SLOTS - 1; step++) {
            me = enter(registry, 1 + (hint + step) % (PP_SLOTS - 1), start_time, namespace);
            if (me != 0) {
                pp_store(&page->hint, hint + step + 1); /* killed here: a look more for the next */
            }
        }
        pp_store(&registry->tenant->me, me); /* killed here: it is this process's own */
    }
    pthread_mutex_unlock(&pp_facts->registry_guard);
    if (me == 0) {
        errno = EAGAIN;
    }
    return me;
}

static struct slot *slot_of(struct pp_registry *registry, uint32_t tag)
{
    return &registry->page->slots[tag & (PP_SLOTS - 1)];
}

static int names(struct slot *slot, uint32_t tag) { return pp_load(&slot->generation) == (tag & PP_TAG_MASK) >> 12; }

int pp_is_dead(struct pp_registry *registry, uint32_t tag)
{
    struct slot *slot = slot_of(registry, tag);
    if ((tag & PP_TAG_MASK) == pp_me(registry) || (tag & PP_TAG_MASK) == PP_TAG_HANDED) {
        return 0;
    }
    if (!names(slot, tag)) {
        return 1; /* somebody else lives there now */
    }
    uint32_t word = pp_load(&slot->alive);
    if (word != 0 && (word & FUTEX_OWNER_DIED) == 0) {
        return !names(slot, tag);
    }
    return process_is_gone(slot) || !names(slot, tag);
}

int32_t pp_pid_of(struct pp_registry *registry, uint32_t tag)
{
    struct slot *slot = slot_of(registry, tag);
    int32_t pid = (int32_t)pp_load(&slot->pid);
    return (tag & PP_TAG_MASK) != 0 && names(slot, tag) ? pid : 0;
}

pp_word *pp_alive_word(struct pp_registry *registry, uint32_t tag, uint32_t *value)
{
    struct slot *slot = slot_of(registry, tag);
    pp_word *word = &slot->alive;
    uint32_t now = pp_load(word);
    if (!names(slot, tag) || now == 0 || (now & FUTEX_OWNER_DIED) != 0) {
        return NULL;
    }
    /* killed here: a wake-up for nobody */
    if ((now & FUTEX_WAITERS) == 0 && !pp_cas(word, now, now | FUTEX_WAITERS)) {
        return NULL;
    }
    *value = now | FUTEX_WAITERS;
    return word;
}

void pp_registry_rearm(struct pp_registry *registry)
{
    uint32_t me = pp_me(registry);
    if (me == 0 || (pp_load(&slot_of(registry, me)->alive) & FUTEX_OWNER_DIED) == 0) {
        return;
    }
    pthread_mutex_lock(&pp_facts->registry_guard);
    struct slot *slot = slot_of(registry, me);
    uint32_t alive = pp_load(&slot->alive);
    if (names(slot, me) && (alive & FUTEX_OWNER_DIED) != 0 && pp_robust_claim(slot, alive & ~FUTEX_TID_MASK)) {
        PP_CRASH_POINT("registry.rearmed");
        uint32_t before = pp_load(&registry->tenant->watched);
        pp_store(&registry->tenant->watched, pp_robust_keep(slot, before)); /* killed here: it is this process's own */
    }
    pthread_mutex_unlock(&pp_facts->registry_guard);
}
