/* What another process does between two steps of a hand-off: for each check that stands there, what would go wrong
 * without it. One thread plays all parts: the core's own calls (a crash point, a look whether somebody is dead, a sleep)
 * are linked to functions of this file, which do the other's step at that place, as steps/core/pp_atomic.h does before an
 * exchange; a process is who has its tag. */
#define _GNU_SOURCE
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/pp_crash.h"
#include "core/pp_handoff.h"
#include "core/pp_registry.h"
#include "tests/check.h"

enum { SENDER = 0x1001, OTHER_SENDER = 0x1002, RECEIVER = 0x1003, OTHER_RECEIVER = 0x1004, DEAD = 0x1005 };
enum { IDLE, LOOKING, ASLEEP, FILLED, KNOCKED }; /* as in pp_handoff.c */

static struct pp_handoff here, there; /* messages go from here to there */
static int fds[2];

/* -- what happens meanwhile -- */

static struct {
    const char *at;
    void (*act)(void);
    int error; /* of a sleep that it breaks off */
} meanwhile;

static void happen(const char *at)
{
    if (meanwhile.at != NULL && strcmp(meanwhile.at, at) == 0) {
        meanwhile.at = NULL;
        meanwhile.act();
    }
}

static void plan(const char *at, void (*act)(void))
{
    CHECK(meanwhile.at == NULL); /* the one before has happened */
    meanwhile.at = at;
    meanwhile.act = act;
    meanwhile.error = 0;
}

/* The linker puts these in place of what they are named after. */
void __wrap_pp_crash_here(const char *name);
int __wrap_pp_is_dead(struct pp_registry *registry, uint32_t tag);
int __wrap_pp_futex_wait(pp_word *word, uint32_t value, int64_t deadline);

void __wrap_pp_crash_here(const char *name) { happen(name); }

void before_exchange(void) { happen("an exchange"); }

int __wrap_pp_is_dead(struct pp_registry *registry, uint32_t tag)
{
    (void)registry;
    happen("a look whether one is dead");
    return tag == DEAD;
}

int __wrap_pp_futex_wait(pp_word *word, uint32_t value, int64_t deadline)
{
    (void)word;
    (void)value;
    (void)deadline;
    int error = meanwhile.at == NULL ? ETIMEDOUT : meanwhile.error;
    happen("a sleep");
    return error;
}

/* -- who does it -- */

static void become(uint32_t tag) { pp_store_own(&here.chunk->registry->tenant->me, tag); }

static struct pp_handoff_way *way(void) { return &here.page->ways[1]; }

static uint64_t word_of(uint32_t state, uint32_t tag) { return (uint64_t)tag << 32 | state; }

static int is_word(uint32_t state, uint32_t tag) { return pp_load64(&way()->word) == word_of(state, tag); }

/* Send a number as a process; whether it was handed over. Else it is written. */
static int sends(uint32_t tag, uint32_t number)
{
    uint32_t before = pp_me(here.chunk->registry);
    become(tag);
    int handed = pp_handoff_send(&here, fds[0], &number, sizeof number);
    if (!handed) {
        CHECK(write(fds[0], &number, sizeof number) == (ssize_t)sizeof number);
    }
    become(before);
    return handed;
}

static uint32_t reads(void)
{
    uint32_t number = 0;
    CHECK(read(fds[1], &number, sizeof number) == (ssize_t)sizeof number);
    pp_handoff_read(&there);
    return number;
}

static int begins(uint32_t tag)
{
    become(tag);
    return pp_handoff_begin(&there);
}

/* What a wait that was begun brings: the number that was handed over, or 0 if the descriptor is to be read. */
static uint32_t hears(uint32_t tag)
{
    uint32_t room[PP_HANDOFF_ROOM / sizeof(uint32_t)];
    size_t size = 0;
    become(tag);
    enum pp_handoff_answer answer = pp_handoff_go_on(&there, room, &size);
    CHECK(answer != PP_HANDED || size == sizeof room[0]);
    return answer == PP_HANDED ? room[0] : 0;
}

static void start(enum pp_beside beside)
{
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, fds) == 0);
    CHECK(pp_handoff_make(&here, &there, beside) == 0);
    CHECK(pp_tag(here.chunk->registry) != 0); /* afterwards it is one of those above */
    pp_store_own(&there.spin.looks, PP_SPIN_NEVER);
    pp_store(&way()->known, 1);
}

static void finish(void)
{
    char left;
    CHECK(meanwhile.at == NULL);
    CHECK(recv(fds[1], &left, 1, MSG_DONTWAIT) < 0 && errno == EAGAIN); /* nothing is left over */
    pp_chunk_drop(here.chunk);
    pp_chunk_drop(there.chunk);
    close(fds[0]);
    close(fds[1]);
}

/* -- order -- */

static void send_one(void) { CHECK(!sends(SENDER, 1)); }

/* What was written as a receiver came to wait is seen by its second look at the counts. */
static void test_receiver_looks_again(void)
{
    start(PP_BESIDE_OWN);
    pp_store64(&way()->word, word_of(KNOCKED, DEAD)); /* so that it is looked at before it is taken */
    plan("a look whether one is dead", send_one);
    CHECK(!begins(RECEIVER) && is_word(IDLE, 0));
    CHECK(reads() == 1);
    finish();
}

static void send_two(void) { CHECK(!sends(SENDER, 2)); }

static void send_one_and_two_as_it_begins(void)
{
    CHECK(!sends(SENDER, 1));
    plan("handoff.looking", send_two);
}

/* A sender whose first message is in the kernel puts no second before a receiver that has not looked again yet. */
static void test_sender_looks_at_the_counts(void)
{
    start(PP_BESIDE_OWN);
    pp_store64(&way()->word, word_of(KNOCKED, DEAD));
    plan("a look whether one is dead", send_one_and_two_as_it_begins);
    CHECK(!begins(RECEIVER) || hears(RECEIVER) == 0); /* it was knocked */
    CHECK(reads() == 1 && reads() == 2);
    finish();
}

static void hand_one_over_and_write_two(void)
{
    CHECK(sends(SENDER, 1));
    CHECK(!sends(SENDER, 2));
}

/* What was put before a receiver, and what was written after it, as it began: it hears the first, though the counts differ. */
static void test_what_was_handed_over_comes_before_what_was_written(void)
{
    start(PP_BESIDE_OWN);
    plan("handoff.looking", hand_one_over_and_write_two);
    CHECK(begins(RECEIVER) && hears(RECEIVER) == 1);
    CHECK(reads() == 2);
    finish();
}

/* What a program has written by the descriptor is read first: the kernel is asked. */
static void test_sender_asks_the_kernel(void)
{
    uint32_t raw = 1;
    start(PP_BESIDE_SOCKET);
    CHECK(begins(RECEIVER));
    CHECK(write(fds[0], &raw, sizeof raw) == (ssize_t)sizeof raw);
    CHECK(!sends(SENDER, 2));
    CHECK(hears(RECEIVER) == 0 && reads() == 1 && reads() == 2);
    CHECK(!begins(RECEIVER)); /* one more was read than counted */
    finish();
}

/* Where more was read than was counted the counts say nothing any more, also once they are even again. */
static void test_counts_are_given_up(void)
{
    uint32_t raw = 1;
    start(PP_BESIDE_OWN);
    CHECK(write(fds[0], &raw, sizeof raw) == (ssize_t)sizeof raw);
    CHECK(reads() == 1);
    CHECK(!sends(SENDER, 2) && pp_load(&way()->sent) == pp_load(&way()->received));
    CHECK(!begins(RECEIVER));
    CHECK(reads() == 2);
    finish();
}

/* A receiver that waits is told of what goes through the kernel. */
static void test_written_messages_knock(void)
{
    char large[PP_HANDOFF_ROOM + 1] = {0};
    start(PP_BESIDE_OWN);
    CHECK(begins(RECEIVER));
    become(SENDER);
    CHECK(!pp_handoff_send(&here, fds[0], large, sizeof large));
    CHECK(is_word(KNOCKED, RECEIVER));
    CHECK(hears(RECEIVER) == 0 && is_word(IDLE, 0));
    finish();
}

static void begin_as_receiver(void) { CHECK(!begins(RECEIVER)); }

/* A message is counted before anybody is told: who begins in between does not wait. */
static void test_counted_before_told(void)
{
    start(PP_BESIDE_OWN);
    plan("handoff.counted", begin_as_receiver);
    CHECK(!sends(SENDER, 1));
    CHECK(reads() == 1);
    finish();
}

/* -- several senders -- */

static void other_hands_over(void) { CHECK(sends(OTHER_SENDER, 1)); }

/* Who gets the place looks again whether somebody waits: what lies there may be another's, and not heard yet. */
static void test_sender_looks_again(void)
{
    start(PP_BESIDE_OWN);
    CHECK(begins(RECEIVER));
    plan("a look whether one is dead", other_hands_over); /* after it has seen that one waits, and that the place is free */
    CHECK(!sends(SENDER, 2));
    CHECK(hears(RECEIVER) == 1 && reads() == 2);
    finish();
}

static void other_writes(void) { CHECK(!sends(OTHER_SENDER, 1)); }

/* Nobody else puts a message where one is being put. */
static void test_place_has_one_sender(void)
{
    start(PP_BESIDE_OWN);
    CHECK(begins(RECEIVER));
    plan("handoff.claimed", other_writes);
    CHECK(!sends(SENDER, 2)); /* the receiver was told to read */
    CHECK(hears(RECEIVER) == 0 && reads() == 1 && reads() == 2);
    CHECK(begins(RECEIVER) && sends(SENDER, 3) && hears(RECEIVER) == 3); /* the place is free again */
    finish();
}

static void other_claims(void) { pp_store(&way()->sender, OTHER_SENDER); }

/* Of two that have seen the place free one gets it. */
static void test_place_is_claimed_in_one_step(void)
{
    start(PP_BESIDE_OWN);
    CHECK(begins(RECEIVER));
    plan("a look whether one is dead", other_claims);
    CHECK(!sends(SENDER, 1));
    CHECK(pp_load(&way()->sender) == OTHER_SENDER);
    CHECK(hears(RECEIVER) == 0 && reads() == 1);
    finish();
}

/* -- the receiver goes, or another comes -- */

static void hand_one_over(void) { CHECK(sends(SENDER, 1)); }

/* A sleep that ends by a signal, or is over, as a message comes: that is heard. */
static void test_message_comes_as_a_sleep_ends(void)
{
    const int errors[] = {EINTR, ETIMEDOUT};
    for (int i = 0; i < 2; i++) {
        start(PP_BESIDE_OWN);
        CHECK(begins(RECEIVER));
        plan("a sleep", hand_one_over);
        meanwhile.error = errors[i];
        CHECK(hears(RECEIVER) == 1 && is_word(IDLE, 0));
        finish();
    }
}

static void receiver_withdraws(void)
{
    become(RECEIVER);
    CHECK(pp_handoff_withdraw(&there));
    become(SENDER);
}

/* A receiver that goes while a message is put before it has not missed one: it is written. */
static void test_receiver_goes_meanwhile(void)
{
    start(PP_BESIDE_OWN);
    CHECK(begins(RECEIVER));
    plan("handoff.claimed", receiver_withdraws);
    CHECK(!sends(SENDER, 1));
    CHECK(reads() == 1);
    finish();
}

/* The same at the last moment: a message is put before the one who waited, or before nobody. */
static void test_receiver_goes_at_the_last_moment(void)
{
    start(PP_BESIDE_OWN);
    CHECK(begins(RECEIVER));
    plan("an exchange", receiver_withdraws);
    CHECK(!sends(SENDER, 1) && is_word(IDLE, 0));
    CHECK(reads() == 1);
    finish();
}

/* And the other way: who withdraws as a message comes is told so, and hears it. */
static void test_message_comes_at_the_last_moment(void)
{
    start(PP_BESIDE_OWN);
    CHECK(begins(RECEIVER));
    plan("an exchange", hand_one_over);
    CHECK(!pp_handoff_withdraw(&there));
    CHECK(hears(RECEIVER) == 1);
    CHECK(begins(RECEIVER));
    plan("an exchange", hand_one_over); /* as it marks itself asleep */
    CHECK(hears(RECEIVER) == 1);
    finish();
}

/* What was said to another is not heard, nor taken back: somebody has taken this one for dead, or written over the word. */
static void test_what_is_said_to_another(void)
{
    start(PP_BESIDE_OWN);
    CHECK(begins(RECEIVER));
    pp_store64(&way()->word, word_of(LOOKING, OTHER_RECEIVER));
    CHECK(!begins(RECEIVER)); /* one waits already */
    CHECK(!pp_handoff_withdraw(&there) && is_word(LOOKING, OTHER_RECEIVER));
    CHECK(sends(SENDER, 1));
    CHECK(hears(RECEIVER) == 0 && is_word(FILLED, OTHER_RECEIVER));
    CHECK(hears(OTHER_RECEIVER) == 1);
    finish();
}

static void other_begins(void)
{
    CHECK(begins(OTHER_RECEIVER));
    become(RECEIVER);
}

/* Of two that find a dead receiver one takes its place. */
static void test_one_takes_the_place_of_the_dead(void)
{
    start(PP_BESIDE_OWN);
    pp_store64(&way()->word, word_of(KNOCKED, DEAD));
    plan("a look whether one is dead", other_begins);
    CHECK(!begins(RECEIVER) && is_word(LOOKING, OTHER_RECEIVER));
    become(OTHER_RECEIVER);
    CHECK(pp_handoff_withdraw(&there));
    finish();
}

/* The dead are passed over by senders; the next receiver takes their place, and what was put before them. */
static void test_the_dead(void)
{
    start(PP_BESIDE_OWN);
    pp_store64(&way()->word, word_of(ASLEEP, DEAD));
    CHECK(!sends(SENDER, 1) && reads() == 1);
    CHECK(begins(RECEIVER) && sends(SENDER, 2) && is_word(FILLED, RECEIVER));
    pp_store64(&way()->word, word_of(FILLED, DEAD));
    CHECK(begins(OTHER_RECEIVER) && hears(OTHER_RECEIVER) == 2);
    pp_store(&way()->sender, DEAD);
    CHECK(begins(RECEIVER) && sends(SENDER, 3) && hears(RECEIVER) == 3);
    finish();
}

int main(void)
{
    strcpy(pp_crash_wanted, "all");
    test_receiver_looks_again();
    test_sender_looks_at_the_counts();
    test_what_was_handed_over_comes_before_what_was_written();
    test_sender_asks_the_kernel();
    test_counts_are_given_up();
    test_written_messages_knock();
    test_counted_before_told();
    test_sender_looks_again();
    test_place_has_one_sender();
    test_place_is_claimed_in_one_step();
    test_message_comes_as_a_sleep_ends();
    test_receiver_goes_meanwhile();
    test_receiver_goes_at_the_last_moment();
    test_message_comes_at_the_last_moment();
    test_what_is_said_to_another();
    test_one_takes_the_place_of_the_dead();
    test_the_dead();
    puts("handoff, steps: ok");
    return 0;
}
