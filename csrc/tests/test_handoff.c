/* Messages that are put before their receiver, those that go through the kernel, and signals that break waits off: all
 * arrive, once, in order, whichever way each takes. As two threads, for ThreadSanitizer, and as two processes. */
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/pp_handoff.h"
#include "tests/check.h"

#define MESSAGES 20000u

struct side {
    struct pp_handoff handoff;
    int fd;
};

static struct side here, there;
static pp_word is_over, handed;
static pthread_t disturbed;

static void send_one(struct side *side, uint32_t number)
{
    uint32_t message[16] = {number, number};
    if (!pp_handoff_send(&side->handoff, side->fd, message, sizeof message)) {
        CHECK(write(side->fd, message, sizeof message) == (ssize_t)sizeof message);
    }
}

static uint32_t receive_one(struct side *side, int has_begun)
{
    uint32_t message[PP_HANDOFF_ROOM / 4];
    size_t size = 0;
    for (;;) {
        enum pp_handoff_answer answer = has_begun ? pp_handoff_go_on(&side->handoff, message, &size)
                                                  : pp_handoff_receive(&side->handoff, message, &size);
        has_begun = 0;
        if (answer == PP_HANDED) {
            pp_add(&handed, 1);
            break;
        }
        if (answer == PP_HANDOFF_READ) {
            ssize_t count = read(side->fd, message, 64);
            if (count < 0 && errno == EINTR) {
                continue;
            }
            size = (size_t)count;
            pp_handoff_read(&side->handoff);
            break;
        }
    }
    CHECK(size == 64 && message[0] == message[1]);
    return message[0];
}

static void *answer_all(void *ignored)
{
    (void)ignored;
    for (uint32_t i = 0; i < MESSAGES; i++) {
        uint32_t number = receive_one(&there, 0);
        CHECK(number == i);
        if (i % 7 == 0) { /* it says that it waits before it answers, and thinks better of it or not */
            int has_begun = pp_handoff_begin(&there.handoff);
            send_one(&there, number);
            if (has_begun && i + 1 < MESSAGES) {
                CHECK(receive_one(&there, 1) == ++i);
                send_one(&there, i);
            } else if (has_begun) {
                CHECK(pp_handoff_withdraw(&there.handoff));
            }
        } else {
            send_one(&there, number);
        }
    }
    return NULL;
}

static void ask_all(void)
{
    uint32_t asked = 0;
    for (uint32_t i = 0; i < MESSAGES; i++) {
        while (asked < MESSAGES && asked < i + 1 + i % 5) { /* some at once */
            send_one(&here, asked++);
        }
        CHECK(receive_one(&here, 0) == i);
    }
}

static void nothing(int ignored) { (void)ignored; }

static void *disturb(void *ignored)
{
    (void)ignored;
    while (!pp_load(&is_over)) {
        pthread_kill(disturbed, SIGUSR1);
        for (int i = 0; i < 2000; i++) {
            pp_pause();
        }
    }
    return NULL;
}

static void begin(enum pp_beside beside)
{
    int fds[2];
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, fds) == 0);
    here.fd = fds[0];
    there.fd = fds[1];
    CHECK(pp_handoff_make(&here.handoff, &there.handoff, beside) == 0);
    pp_store(&is_over, 0);
    pp_store(&handed, 0);
}

static void end(void)
{
    pp_chunk_drop(here.handoff.chunk);
    pp_chunk_drop(there.handoff.chunk);
    close(here.fd);
    close(there.fd);
}

static void between_threads(void)
{
    pthread_t other, disturber;
    begin(PP_BESIDE_OWN);
    disturbed = pthread_self();
    CHECK(pthread_create(&other, NULL, answer_all, NULL) == 0 && pthread_create(&disturber, NULL, disturb, NULL) == 0);
    ask_all();
    pthread_join(other, NULL);
    pp_store(&is_over, 1);
    pthread_join(disturber, NULL);
    CHECK(pp_load(&handed) > 0);
    end();
}

static void between_processes(void)
{
    pthread_t disturber;
    begin(PP_BESIDE_SOCKET);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        answer_all(NULL);
        _exit(0);
    }
    disturbed = pthread_self();
    CHECK(pthread_create(&disturber, NULL, disturb, NULL) == 0);
    ask_all();
    pp_store(&is_over, 1);
    pthread_join(disturber, NULL);
    int status;
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    CHECK(pp_load(&handed) > 0);
    end();
}

int main(int count, char **args)
{
    struct sigaction act = {.sa_handler = nothing};
    CHECK(sigaction(SIGUSR1, &act, NULL) == 0);
    between_threads();
    if (count < 2 || strcmp(args[1], "threads") != 0) {
        between_processes();
    }
    puts("handoff: ok");
    return 0;
}
