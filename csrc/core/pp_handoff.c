#define _GNU_SOURCE
#include "core/pp_handoff.h"

#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>

#include "core/pp_crash.h"
#include "core/pp_futex.h"
#include "core/pp_wait.h"

#define MAX_ROUNDS 100

enum { IDLE, LOOKING, ASLEEP, FILLED, KNOCKED };

static uint64_t word_of(uint32_t state, uint32_t tag) { return (uint64_t)tag << 32 | state; }
static uint32_t state_of(uint64_t word) { return (uint32_t)word; }
static uint32_t tag_of(uint64_t word) { return (uint32_t)(word >> 32); }
static int is_waiting(uint64_t word) { return state_of(word) == LOOKING || state_of(word) == ASLEEP; }

static pp_word *slept_on(struct pp_handoff_way *way)
{
    return (pp_word *)&way->word + (__BYTE_ORDER__ == __ORDER_BIG_ENDIAN__);
}

static void put_together(struct pp_handoff *end, struct pp_chunk *chunk, uint32_t offset, uint32_t side, uint32_t beside)
{
    end->chunk = chunk;
    end->page = (struct pp_handoff_page *)((char *)chunk->page + offset);
    end->offset = offset;
    end->side = side;
    end->beside = beside;
    pp_spin_start(&end->spin);
    pp_store_own(&end->left, 0);
    pp_store_own(&end->is_hasty, 0);
}

int pp_handoff_make(struct pp_handoff *first, struct pp_handoff *second, uint32_t beside)
{
    struct pp_chunk *chunk = NULL;
    uint32_t offset = pp_chunk_alloc(sizeof(struct pp_handoff_page), PP_HANDOFF, &chunk);
    if (offset == 0) {
        return -1;
    }
    if (second != NULL) {
        put_together(second, pp_chunk_find(chunk->id), offset, 1, beside); /* which is there: one more handle */
    }
    put_together(first, chunk, offset, 0, beside);
    return 0;
}

int pp_handoff_adopt(struct pp_handoff *end, struct pp_chunk *chunk, uint32_t offset, uint32_t side, uint32_t beside)
{
    if (side > 1 || pp_chunk_cell(chunk, offset, PP_HANDOFF, sizeof(struct pp_handoff_page)) == NULL) {
        return 0;
    }
    put_together(end, chunk, offset, side, beside);
    return 1;
}

/* -- sending -- */

/* Whether something lies in the kernel that nobody has read: a program may have written it by the descriptor. */
static int is_under_way(struct pp_handoff *end, int fd)
{
    int bytes = 0;
    return end->beside != PP_BESIDE_OWN
           && (ioctl(fd, end->beside == PP_BESIDE_PIPE ? FIONREAD : TIOCOUTQ, &bytes) != 0 || bytes != 0);
}

/* Tell the waiter of a state. Whether it still waited. */
static int tell(struct pp_handoff_way *way, uint32_t state)
{
    for (int i = 0; i < MAX_ROUNDS; i++) {
        uint64_t now = pp_load64(&way->word);
        if (!is_waiting(now)) {
            return 0;
        }
        if (pp_cas64(&way->word, now, word_of(state, tag_of(now)))) {
            PP_CRASH_POINT("handoff.told");
            if (state_of(now) == ASLEEP) {
                pp_futex_wake(slept_on(way), 1);
            }
            return 1;
        }
    }
    return 0;
}

static int fill(struct pp_handoff *end, struct pp_handoff_way *way, int fd, const void *bytes, size_t size)
{
    struct pp_registry *registry = end->chunk->registry;
    uint64_t now = pp_load64(&way->word);
    uint32_t before = pp_load(&way->sender), me = pp_tag(registry);
    if (me == 0 || pp_load(&way->sent) != pp_load(&way->received) || pp_is_dead(registry, tag_of(now))
        || (before != 0 && !pp_is_dead(registry, before)) || is_under_way(end, fd) || !pp_cas(&way->sender, before, me)) {
        return 0;
    }
    PP_CRASH_POINT("handoff.claimed");
    int filled = 0;
    if (is_waiting(pp_load64(&way->word))) { /* else what lies there is another's */
        memcpy(way->bytes, bytes, size); /* killed here: as at "handoff.claimed" */
        pp_store(&way->size, (uint32_t)size); /* killed here: the same */
        filled = tell(way, FILLED);
    }
    pp_store(&way->sender, 0); /* killed here: nothing is left to be done */
    return filled;
}

int pp_handoff_send(struct pp_handoff *end, int fd, const void *bytes, size_t size)
{
    struct pp_handoff_way *way = &end->page->ways[1 - end->side];
    if (pp_load_own(&end->left)) {
        return 0;
    }
    if (pp_load(&way->known) == 0) {
        pp_store(&way->known, 1); /* killed here: a receiver waits for a moment */
    }
    if (is_waiting(pp_load64(&way->word)) && size <= PP_HANDOFF_ROOM && fill(end, way, fd, bytes, size)) {
        return 1;
    }
    pp_add(&way->sent, 1);
    PP_CRASH_POINT("handoff.counted");
    (void)tell(way, KNOCKED);
    return 0;
}

void pp_handoff_unsent(struct pp_handoff *end)
{
    if (!pp_load_own(&end->left)) {
        pp_add(&end->page->ways[1 - end->side].sent, (uint32_t)-1); /* killed here: they are even */
    }
}

/* -- receiving -- */

/* Wait no more. 0: something was said meanwhile. */
static int withdraw(struct pp_handoff_way *way, uint32_t me)
{
    for (int i = 0; i < MAX_ROUNDS; i++) {
        uint64_t now = pp_load64(&way->word);
        if (!is_waiting(now) || tag_of(now) != me) {
            return 0;
        }
        if (pp_cas64(&way->word, now, IDLE)) { /* killed here: nobody waits */
            return 1;
        }
    }
    return 1;
}

/* Be the one who waits, if nobody else does who is alive. */
static int enter(struct pp_handoff *end, struct pp_handoff_way *way, uint32_t me)
{
    uint64_t now = pp_load64(&way->word);
    if (now != IDLE && !pp_is_dead(end->chunk->registry, tag_of(now))) {
        return 0;
    }
    int entered = pp_cas64(&way->word, now, word_of(state_of(now) == FILLED ? FILLED : LOOKING, me));
    if (entered) {
        PP_CRASH_POINT("handoff.looking");
    }
    return entered;
}

struct said {
    struct pp_handoff_way *way;
    uint64_t before;
};

static int is_said(void *what)
{
    struct said *said = (struct said *)what;
    return pp_load64(&said->way->word) != said->before;
}

/* Sleep until something is said, for a moment. 0, ETIMEDOUT or EINTR. */
static int sleep_on(struct pp_handoff_way *way, uint32_t me)
{
    uint64_t asleep = word_of(ASLEEP, me);
    if (!pp_cas64(&way->word, word_of(LOOKING, me), asleep)) {
        return 0;
    }
    PP_CRASH_POINT("handoff.asleep");
    int64_t deadline = pp_now() + PP_HANDOFF_MOMENT;
    int error = 0;
    while (error == 0 && pp_load64(&way->word) == asleep) {
        error = pp_futex_wait(slept_on(way), ASLEEP, deadline);
    }
    return error;
}

/* What was said to this thread. */
static enum pp_handoff_answer hear(struct pp_handoff_way *way, uint32_t me, void *bytes, size_t *size)
{
    uint64_t now = pp_load64(&way->word);
    uint32_t length = pp_load(&way->size);
    enum pp_handoff_answer answer = PP_HANDOFF_READ;
    if (tag_of(now) != me) {
        return answer; /* somebody has written over it */
    }
    if (state_of(now) == FILLED && length <= PP_HANDOFF_ROOM) {
        memcpy(bytes, way->bytes, length);
        *size = length;
        answer = PP_HANDED;
    }
    pp_cas64(&way->word, now, IDLE);
    PP_CRASH_POINT("handoff.taken");
    return answer;
}

int pp_handoff_begin(struct pp_handoff *end)
{
    struct pp_handoff_way *way = &end->page->ways[end->side];
    if (pp_load_own(&end->left) || pp_load_own(&end->is_hasty) || pp_load(&way->known) == 0 || pp_load(&way->off) != 0
        || pp_load(&way->sent) != pp_load(&way->received)) {
        return 0;
    }
    uint32_t me = pp_tag(end->chunk->registry);
    if (me == 0 || !enter(end, way, me)) {
        return 0;
    }
    return pp_load(&way->sent) == pp_load(&way->received) || !withdraw(way, me);
}

int pp_handoff_is_said(struct pp_handoff *end) { return !is_waiting(pp_load64(&end->page->ways[end->side].word)); }

int pp_handoff_withdraw(struct pp_handoff *end)
{
    return withdraw(&end->page->ways[end->side], pp_me(end->chunk->registry));
}

enum pp_handoff_answer pp_handoff_go_on(struct pp_handoff *end, void *bytes, size_t *size)
{
    struct pp_handoff_way *way = &end->page->ways[end->side];
    uint32_t me = pp_me(end->chunk->registry);
    struct said said = {way, word_of(LOOKING, me)};
    int error = pp_spin_until(is_said, &said, &end->spin, PP_MAX_SPINS) ? 0 : sleep_on(way, me);
    if (error != 0 && withdraw(way, me)) {
        return error == EINTR ? PP_HANDOFF_SIGNAL : PP_HANDOFF_READ;
    }
    return hear(way, me, bytes, size);
}

enum pp_handoff_answer pp_handoff_receive(struct pp_handoff *end, void *bytes, size_t *size)
{
    return pp_handoff_begin(end) ? pp_handoff_go_on(end, bytes, size) : PP_HANDOFF_READ;
}

void pp_handoff_read(struct pp_handoff *end)
{
    struct pp_handoff_way *way = &end->page->ways[end->side];
    if (pp_load_own(&end->left) || pp_load(&way->known) == 0) {
        return;
    }
    uint32_t received = pp_add(&way->received, 1) + 1; /* killed here: they are even */
    if ((int32_t)(pp_load(&way->sent) - received) < 0) {
        pp_store(&way->off, 1); /* killed here: that was meant */
    }
}

void pp_handoff_close(struct pp_handoff *end)
{
    struct pp_handoff_way *way = &end->page->ways[end->side];
    uint32_t me = pp_me(end->chunk->registry);
    if (pp_load_own(&end->left)) {
        return;
    }
    if (me != 0 && tag_of(pp_load64(&way->word)) == me) {
        (void)tell(way, KNOCKED);
    }
    (void)tell(&end->page->ways[1 - end->side], KNOCKED);
}
