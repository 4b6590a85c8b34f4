#define _GNU_SOURCE
#include "core/pp_facts.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#ifndef MADV_WIPEONFORK
#define MADV_WIPEONFORK 18
#endif

/* Address space; memory where something was written. A process has one registry, or as many as families it talks to. */
#define ROOM ((size_t)1 << 18)
#define SPARE 4096

_Static_assert(sizeof(struct pp_facts) <= SPARE / 2, "there is room for more of them");

/* Where the rest of them is: the same in a child. */
static _Alignas(64) char spare[SPARE]; /* for a process without address space */
static size_t room, used;
static pp_word births;

struct pp_facts *pp_facts;

void pp_facts_reborn(void)
{
    if (pp_load(&pp_facts->mark) != 0) {
        memset((void *)pp_facts, 0, used);
        pp_store(&pp_facts->mark, 1); /* killed here: nothing in this file is shared */
    }
}

__attribute__((constructor)) static void prepare(void)
{
    void *place = mmap(NULL, ROOM, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    pp_facts = place == MAP_FAILED ? (struct pp_facts *)(void *)spare : place;
    room = place == MAP_FAILED ? SPARE : ROOM;
    used = (sizeof *pp_facts + 15) / 16 * 16;
    if (place != MAP_FAILED) {
        (void)madvise(place, ROOM, MADV_WIPEONFORK); /* the mark tells whether it was heard */
    }
    pp_store(&pp_facts->mark, 1); /* killed here: as above */
    (void)pthread_atfork(NULL, NULL, pp_facts_reborn); /* without memory there is no fork either */
}

void *pp_facts_alloc(size_t size)
{
    size = (size + 15) / 16 * 16;
    if (size > room - used) {
        errno = ENOMEM;
        return NULL;
    }
    used += size;
    return (char *)pp_facts + used - size;
}

uint32_t pp_birth(void)
{
    uint32_t birth = pp_load_own(&pp_facts->birth);
    if (birth == 0) {
        /* killed here: as above */
        uint32_t next = pp_add(&births, 1) + 1;
        birth = pp_cas(&pp_facts->birth, 0, next) ? next : pp_load(&pp_facts->birth);
    }
    return birth;
}
