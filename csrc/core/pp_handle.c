#define _GNU_SOURCE
#include "core/pp_handle.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "core/pp_facts.h"

#define NUMBER 0xffffffffull
#define ONE_USER (1ull << 32)
#define USERS (0xffffull << 32)
#define BIRTH (0x7fffull << 48)
#define ENDED (1ull << 63)

/* Every store here is to memory of this process alone. */

static uint64_t birth(void) { return (uint64_t)pp_birth() << 48 & BIRTH; }

/* The word without what threads of a parent did: they are not in this process. Of what they would have closed a forked child
 * has nothing but a number (or the file itself, where there was no descriptor to put in its place). */
static uint64_t ours(uint64_t word)
{
    if ((word & BIRTH) == birth()) {
        return word;
    }
    return (word & ~(BIRTH | USERS)) | birth();
}

static int number_of(uint64_t word) { return (int)(int32_t)(uint32_t)word; }

void pp_handle_start(struct pp_handle *handle) { pp_store64(&handle->word, NUMBER); /* killed here: as above */ }

int pp_handle_set(struct pp_handle *handle, int number)
{
    uint64_t now, next;
    do {
        now = pp_load64(&handle->word);
        next = ours(now);
        if ((next & ENDED) != 0 && (next & USERS) != 0) {
            errno = EBUSY;
            return -1;
        }
        next = (next & ~(ENDED | NUMBER)) | (uint32_t)number;
    } while (!pp_cas64(&handle->word, now, next)); /* killed here: as above */
    return 0;
}

int pp_handle_use(struct pp_handle *handle)
{
    uint64_t now, next;
    do {
        now = pp_load64(&handle->word);
        next = ours(now);
        if ((next & ENDED) != 0 || number_of(next) < 0) {
            return -1;
        }
    } while (!pp_cas64(&handle->word, now, next + ONE_USER)); /* killed here: as above */
    return number_of(next);
}

void pp_handle_leave(struct pp_handle *handle)
{
    uint64_t now, next;
    int is_last;
    do {
        now = pp_load64(&handle->word);
        next = now - ONE_USER;
        is_last = (next & ENDED) != 0 && (next & USERS) == 0;
        if (is_last) {
            next = (next & ~ENDED) | NUMBER;
        }
    } while (!pp_cas64(&handle->word, now, next)); /* killed here: as above */
    if (is_last) {
        close(number_of(now));
    }
}

/* Close the file, and keep the number. */
static void bar(int number)
{
    int barred = open("/", O_PATH | O_CLOEXEC);
    if (barred >= 0) { /* without a descriptor, or in a sandbox, the file is closed with its last user */
        (void)dup3(barred, number, O_CLOEXEC);
        close(barred);
    }
}

void pp_handle_close(struct pp_handle *handle)
{
    uint64_t now, next;
    int number, is_used;
    do {
        now = pp_load64(&handle->word);
        next = ours(now);
        number = number_of(next);
        is_used = (next & USERS) != 0;
        if (number < 0 || ((next & ENDED) != 0 && is_used)) {
            return;
        }
        next = is_used ? (next | ENDED) + ONE_USER : (next & ~ENDED) | NUMBER;
    } while (!pp_cas64(&handle->word, now, next)); /* killed here: as above */
    if (is_used) { /* by us as well, now: the number is nobody's while its file is taken away */
        bar(number);
        pp_handle_leave(handle);
    } else {
        close(number);
    }
}
