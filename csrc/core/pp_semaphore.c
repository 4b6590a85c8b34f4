#define _GNU_SOURCE
#include "core/pp_semaphore.h"

#include <errno.h>

#include "core/pp_crash.h"

#define BRACKET 0x80000000u

static pp_word *tokens_of(struct pp_semaphore *semaphore) { return (pp_word *)(void *)(semaphore->cell + 1); }

size_t pp_semaphore_size(uint32_t value)
{
    return sizeof(struct pp_cell) + (value <= PP_MAX_TOKENS ? value * sizeof(pp_word) : 0);
}

void pp_semaphore_make(struct pp_semaphore *semaphore, struct pp_chunk *chunk, struct pp_cell *cell, uint32_t value,
                       int bounded)
{
    int counted = value > PP_MAX_TOKENS;
    *semaphore = (struct pp_semaphore){chunk, cell, counted ? 0 : value, bounded ? (counted ? value : 0) + 1 : 0};
    /* killed here: nobody else has it yet */
    pp_store(&cell->semaphore.tokens, semaphore->tokens);
    pp_store(&cell->semaphore.bounded, semaphore->bounded);
    pp_store(&cell->semaphore.count, counted ? value : 0);
}

int pp_semaphore_adopt(struct pp_semaphore *semaphore, struct pp_chunk *chunk, uint32_t offset)
{
    struct pp_cell *cell = pp_chunk_cell(chunk, offset, PP_SEMAPHORE, sizeof *cell);
    if (cell == NULL) {
        return 0;
    }
    *semaphore = (struct pp_semaphore){chunk, cell, pp_load(&cell->semaphore.tokens), pp_load(&cell->semaphore.bounded)};
    return semaphore->tokens <= PP_MAX_TOKENS && semaphore->bounded <= PP_VALUE_MAX + 1
           && pp_chunk_cell(chunk, offset, PP_SEMAPHORE, pp_semaphore_size(semaphore->tokens)) != NULL;
}

static int take(pp_word *word, uint32_t before, uint32_t after)
{
    int taken = pp_cas(word, before, after);
    if (taken) {
        PP_CRASH_POINT("semaphore.taken");
    }
    return taken;
}

static int give(pp_word *word, uint32_t before, uint32_t after)
{
    int given = pp_cas(word, before, after);
    if (given) {
        PP_CRASH_POINT("semaphore.freed");
    }
    return given;
}

static int acquire_free(struct pp_semaphore *semaphore, uint32_t tag)
{
    struct pp_cell *cell = semaphore->cell;
    pp_word *tokens = tokens_of(semaphore);
    uint32_t number = semaphore->tokens;
    for (uint32_t i = 0; i < number; i++) {
        if (pp_load(&tokens[i]) == 0 && take(&tokens[i], 0, tag)) {
            return 1;
        }
    }
    uint32_t count = pp_load(&cell->semaphore.count);
    while (count != 0) {
        if (take(&cell->semaphore.count, count, count - 1)) {
            return 1;
        }
        count = pp_load(&cell->semaphore.count);
    }
    return 0;
}

static int acquire_from_dead(struct pp_semaphore *semaphore, uint32_t tag)
{
    pp_word *tokens = tokens_of(semaphore);
    uint32_t number = semaphore->tokens;
    for (uint32_t i = 0; i < number; i++) {
        uint32_t now = pp_load(&tokens[i]);
        int is_sure = (now & BRACKET) != 0 || semaphore->bounded != 0;
        if (now != 0 && is_sure && pp_is_dead(semaphore->chunk->registry, now) && pp_cas(&tokens[i], now, tag)) {
            PP_CRASH_POINT("semaphore.taken_over");
            return 1;
        }
    }
    return 0;
}

static enum pp_answer try_to_acquire(struct pp_semaphore *semaphore, uint32_t tag)
{
    if (acquire_free(semaphore, tag)) {
        return PP_DONE;
    }
    return acquire_from_dead(semaphore, tag) ? PP_RECOVERED : PP_AGAIN;
}

enum pp_answer pp_semaphore_try(struct pp_semaphore *semaphore, int bracket)
{
    uint32_t me = pp_tag(semaphore->chunk->registry);
    return me == 0 ? PP_FAILED : try_to_acquire(semaphore, bracket ? me | BRACKET : me);
}

/* -- who sleeps: how often it has changed, from bit 2 on, and NOBODY, ONE or SEVERAL -- */

enum { NOBODY, ONE, SEVERAL, BITS = 3 };

static uint32_t changed(uint32_t now, uint32_t who) { return ((now | BITS) + 1) | who; }

/* Before the last look for a token: one more is about to sleep. */
static void say_asleep(struct pp_cell *cell)
{
    for (int i = 0; i < PP_MAX_ROUNDS; i++) {
        uint32_t now = pp_load(&cell->semaphore.asleep);
        if (pp_cas(&cell->semaphore.asleep, now, changed(now, (now & BITS) == NOBODY ? ONE : SEVERAL))) {
            PP_CRASH_POINT("semaphore.flagged");
            return;
        }
    }
    pp_or(&cell->semaphore.asleep, SEVERAL); /* killed here: as at "semaphore.flagged" */
}

/* A token is there: wake one who sleeps. One that sleeps alone is taken off at once, so that the next release makes no call
 * for nobody. Of several another may always sleep: until none is found asleep, and none has come since the look before. */
static void wake_one(struct pp_cell *cell)
{
    uint32_t now = pp_load(&cell->semaphore.asleep);
    if ((now & BITS) == NOBODY) {
        return;
    }
    int is_last = (now & BITS) == ONE && pp_cas(&cell->semaphore.asleep, now, changed(now, NOBODY));
    PP_CRASH_POINT("semaphore.counted");
    pp_add(&cell->semaphore.sequence, 1); /* killed here: the same */
    if (pp_futex_wake(&cell->semaphore.sequence, 1) == 0 && !is_last) {
        pp_cas(&cell->semaphore.asleep, now, changed(now, NOBODY)); /* killed here: nobody sleeps */
    }
}

static int has_token(void *semaphore) { return pp_semaphore_value(semaphore) != 0; }

enum pp_answer pp_semaphore_wait(struct pp_semaphore *semaphore, int bracket, struct pp_wait *wait)
{
    struct pp_cell *cell = semaphore->cell;
    uint32_t me = pp_tag(semaphore->chunk->registry);
    if (me == 0) {
        return PP_FAILED;
    }
    uint32_t tag = bracket ? me | BRACKET : me;
    if (wait->spin != NULL) {
        struct pp_spin *spin = wait->spin;
        wait->spin = NULL; /* once */
        enum pp_answer answer = pp_spin_until(has_token, semaphore, spin, PP_MAX_SPINS) ? try_to_acquire(semaphore, tag) : PP_AGAIN;
        if (answer != PP_AGAIN) {
            return answer;
        }
    }
    pp_registry_rearm(semaphore->chunk->registry);
    uint32_t seen = pp_load(&cell->semaphore.sequence);
    say_asleep(cell);
    enum pp_answer answer = try_to_acquire(semaphore, tag);
    if (answer == PP_AGAIN) {
        if (wait->deadline != PP_FOREVER && wait->deadline <= pp_now()) {
            return PP_TIMED_OUT;
        }
        int64_t until = pp_wait_until(wait);
        if (semaphore->tokens != 0) { /* the holders' deaths wake nobody here */
            int64_t next_look = pp_now() + PP_DEATH_TICK;
            until = next_look < until ? next_look : until;
        }
        pp_futex_wait(&cell->semaphore.sequence, seen, until);
        PP_CRASH_POINT("semaphore.woken");
        answer = try_to_acquire(semaphore, tag);
    }
    return answer;
}

static int free_one(struct pp_semaphore *semaphore, uint32_t wanted, uint32_t mask)
{
    pp_word *tokens = tokens_of(semaphore);
    uint32_t number = semaphore->tokens;
    for (uint32_t i = 0; i < number; i++) {
        uint32_t now = pp_load(&tokens[i]);
        if (now != 0 && (now & mask) == wanted && give(&tokens[i], now, 0)) {
            return 1;
        }
    }
    return 0;
}

static int add_one(struct pp_semaphore *semaphore)
{
    struct pp_cell *cell = semaphore->cell;
    uint32_t most = semaphore->bounded != 0 ? semaphore->bounded - 1 : PP_VALUE_MAX;
    for (;;) {
        uint32_t count = pp_load(&cell->semaphore.count);
        if (count >= most) {
            return 0;
        }
        if (give(&cell->semaphore.count, count, count + 1)) {
            return 1;
        }
    }
}

int pp_semaphore_release(struct pp_semaphore *semaphore, int bracket)
{
    struct pp_cell *cell = semaphore->cell;
    uint32_t me = pp_tag(semaphore->chunk->registry);
    int done = me != 0 && (free_one(semaphore, bracket ? me | BRACKET : me, ~0u) || free_one(semaphore, me, ~BRACKET));
    done = done || free_one(semaphore, 0, BRACKET) || (semaphore->bounded != 0 && free_one(semaphore, 0, 0));
    if (!done && !add_one(semaphore)) {
        return -1;
    }
    wake_one(cell);
    return 0;
}

uint32_t pp_semaphore_value(struct pp_semaphore *semaphore)
{
    pp_word *tokens = tokens_of(semaphore);
    uint32_t number = semaphore->tokens;
    uint32_t value = pp_load(&semaphore->cell->semaphore.count);
    for (uint32_t i = 0; i < number; i++) {
        value += pp_load(&tokens[i]) == 0;
    }
    return value;
}
