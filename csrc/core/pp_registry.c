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
#include "core/pp_memfd.h"

#define MAGIC 0x70707265u
#define LAYOUT 1
#define GENERATIONS 0x7ffffu

#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif

struct slot {
    pthread_mutex_t alive;
    pp_word generation;
    pp_word pid;
    pp_word64 start_time;
    pp_word64 pid_namespace;
    pp_word state; /* RETAINED or not */
    pp_word made;  /* whether the mutex is: 0 no, 1 somebody is at it, 2 yes */
    unsigned char unused[128 - sizeof(pthread_mutex_t) - 32];
};

_Static_assert(sizeof(struct slot) == 128, "the layout of a slot is shared");

#define RETAINED 2

struct pp_registry_page {
    uint32_t magic;
    uint32_t layout;
    unsigned char id[16];
    pp_word hint; /* where the last free slot was found */
    unsigned char unused[100];
    struct slot slots[PP_SLOTS];
};

static struct pp_registry *registries;
static pthread_mutex_t guard = PTHREAD_MUTEX_INITIALIZER;

static pp_word *alive_word(struct slot *slot) { return (pp_word *)(void *)&slot->alive; }

/* The mutex of a slot is made when the slot is first wanted: 4095 of them would be half a MiB of touched memory. Killed
 * in the middle ("registry.making"): the slot stays half made, and is passed over for good. */
static int make_mutex(struct slot *slot)
{
    pthread_mutexattr_t kind;
    if (!pp_cas(&slot->made, 0, 1)) {
        return pp_load(&slot->made) == 2;
    }
    PP_CRASH_POINT("registry.making");
    pthread_mutexattr_init(&kind);
    pthread_mutexattr_setpshared(&kind, PTHREAD_PROCESS_SHARED);
    pthread_mutexattr_setrobust(&kind, PTHREAD_MUTEX_ROBUST);
    int error = pthread_mutex_init(&slot->alive, &kind);
    pthread_mutexattr_destroy(&kind);
    if (error == 0) {
        pp_store(&slot->made, 2);
    }
    return error == 0;
}

/* Field 22 of /proc/PID/stat, in clock ticks since the system started; 0 if there is no such process. */
static uint64_t start_time_of(pid_t pid)
{
    char path[32], text[1024];
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
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
    for (int field = 2; place != NULL && field < 22; field++) {
        place = strchr(place + 1, ' ');
    }
    return place == NULL ? 0 : strtoull(place, NULL, 10);
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
    } else if (errno == ESRCH) {
        return 1;
    } else if (kill(pid, 0) != 0 && errno == ESRCH) {
        return 1;
    }
    return start_time_of(pid) != pp_load64(&slot->start_time);
}

static int slot_is_free(struct slot *slot)
{
    uint32_t word = pp_load(alive_word(slot));
    if (pp_load(&slot->state) == RETAINED) {
        return 0;
    }
    return (word & FUTEX_TID_MASK) == 0 && ((word & FUTEX_OWNER_DIED) == 0 || process_is_gone(slot));
}

static struct pp_registry *add(struct pp_registry_page *page, int fd)
{
    struct pp_registry *registry = calloc(1, sizeof *registry);
    if (registry == NULL) {
        return NULL;
    }
    registry->page = page;
    registry->fd = fd;
    memcpy(registry->id, page->id, sizeof registry->id);
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
    page->magic = MAGIC;
    page->layout = LAYOUT;
    struct pp_registry *registry = NULL;
    if (pp_random(page->id, sizeof page->id) == 0) {
        registry = add(page, fd);
    }
    if (registry == NULL) {
        munmap(page, sizeof *page);
        close(fd);
    }
    return registry;
}

struct pp_registry *pp_registry_own(void)
{
    static int handles_fork; /* a fact about this process */
    pthread_mutex_lock(&guard);
    if (!handles_fork) {
        handles_fork = pthread_atfork(NULL, NULL, pp_registry_reborn) == 0;
    }
    /* The family's is the first that this process has had: the last of the list. */
    struct pp_registry *found = registries;
    while (found != NULL && found->next != NULL) {
        found = found->next;
    }
    if (found == NULL) {
        found = make();
    }
    pthread_mutex_unlock(&guard);
    return found;
}

struct pp_registry *pp_registry_attach(int fd)
{
    struct pp_registry_page *page = pp_memfd_map(fd, sizeof *page);
    if (page == NULL) {
        return NULL;
    }
    struct pp_registry *found = NULL;
    pthread_mutex_lock(&guard);
    if (page->magic != MAGIC || page->layout != LAYOUT) {
        errno = EINVAL;
    } else {
        for (found = registries; found != NULL; found = found->next) {
            if (memcmp(found->id, page->id, sizeof found->id) == 0) {
                break;
            }
        }
        if (found == NULL) {
            int own = fcntl(fd, F_DUPFD_CLOEXEC, 3);
            found = own < 0 ? NULL : add(page, own);
            if (found != NULL) {
                page = NULL;
            } else if (own >= 0) {
                close(own);
                errno = ENOMEM;
            }
        }
    }
    pthread_mutex_unlock(&guard);
    int error = errno;
    if (page != NULL) {
        munmap(page, sizeof *page);
    }
    errno = error;
    return found;
}

/* Take a slot that is free; returns whether we have it. */
static int claim(struct slot *slot)
{
    if (!make_mutex(slot) || !slot_is_free(slot)) {
        return 0;
    }
    int result = pthread_mutex_trylock(&slot->alive);
    if (result == EOWNERDEAD) {
        pthread_mutex_consistent(&slot->alive);
        result = 0;
    }
    if (result != 0) {
        return 0;
    }
    PP_CRASH_POINT("registry.claimed");
    return 1;
}

uint32_t pp_registry_enter(struct pp_registry *registry)
{
    struct pp_registry_page *page = registry->page;
    pthread_mutex_lock(&guard);
    uint32_t me = pp_load(&registry->me);
    uint32_t hint = pp_load(&page->hint);
    for (uint32_t step = 0; me == 0 && step < PP_SLOTS - 1; step++) {
        uint32_t index = 1 + (hint + step) % (PP_SLOTS - 1);
        struct slot *slot = &page->slots[index];
        if (!claim(slot)) {
            continue;
        }
        uint32_t generation = (pp_load(&slot->generation) + 1) & GENERATIONS;
        pp_store(&slot->generation, generation == 0 ? 1 : generation); /* from here on the tags of before are dead */
        PP_CRASH_POINT("registry.renamed");
        pp_store64(&slot->start_time, start_time_of(getpid()));
        pp_store64(&slot->pid_namespace, own_namespace());
        pp_store(&slot->pid, (uint32_t)getpid());
        pp_store(&slot->state, 0);
        pp_store(&page->hint, hint + step + 1);
        me = index | pp_load(&slot->generation) << 12;
        pp_store(&registry->me, me);
    }
    pthread_mutex_unlock(&guard);
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
    if ((tag & PP_TAG_MASK) == pp_load_own(&registry->me)) {
        return 0;
    }
    if (!names(slot, tag)) {
        return 1; /* somebody else lives there now */
    }
    uint32_t word = pp_load(alive_word(slot));
    if (pp_load(&slot->state) == RETAINED) {
        return !names(slot, tag);
    }
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
    pp_word *word = alive_word(slot);
    uint32_t now = pp_load(word);
    if (!names(slot, tag) || now == 0 || (now & FUTEX_OWNER_DIED) != 0) {
        return NULL;
    }
    if ((now & FUTEX_WAITERS) == 0 && !pp_cas(word, now, now | FUTEX_WAITERS)) {
        return NULL;
    }
    *value = now | FUTEX_WAITERS;
    return word;
}

void pp_registry_rearm(struct pp_registry *registry)
{
    uint32_t me = pp_load(&registry->me);
    if (me == 0 || (pp_load(alive_word(slot_of(registry, me))) & FUTEX_OWNER_DIED) == 0) {
        return;
    }
    pthread_mutex_lock(&guard);
    pthread_mutex_t *alive = &slot_of(registry, me)->alive;
    if (pp_load(&registry->me) == me && pthread_mutex_trylock(alive) == EOWNERDEAD) {
        pthread_mutex_consistent(alive);
    }
    pthread_mutex_unlock(&guard);
}

static uint32_t births; /* a fact about this process: which generation of forked children it is */

uint32_t pp_registry_births(void) { return births; }

void pp_registry_reborn(void)
{
    births++;
    pthread_mutex_init(&guard, NULL); /* another thread of the parent may have held it */
    for (struct pp_registry *registry = registries; registry != NULL; registry = registry->next) {
        pp_store(&registry->me, 0);
        pp_store(&registry->held, 0);
    }
}

void pp_registry_leave(void)
{
    pthread_mutex_lock(&guard);
    for (struct pp_registry *registry = registries; registry != NULL; registry = registry->next) {
        if (pp_load(&registry->me) != 0 && pp_load(&registry->held) != 0) {
            pp_store(&slot_of(registry, pp_load(&registry->me))->state, RETAINED);
        }
    }
    pthread_mutex_unlock(&guard);
}
