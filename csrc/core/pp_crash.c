#define _GNU_SOURCE
#include "core/pp_crash.h"

#ifdef PP_CRASHPOINTS
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

char pp_crash_wanted[64]; /* a fact about this process */

__attribute__((constructor)) static void read_environment(void)
{
    const char *wanted = getenv("POLYPROC_CRASH");
    if (wanted != NULL && strlen(wanted) < sizeof pp_crash_wanted) {
        strcpy(pp_crash_wanted, wanted);
    }
}

void pp_crash_here(const char *name)
{
    if (strcmp(pp_crash_wanted, name) == 0) {
        kill(getpid(), SIGKILL);
    }
    if (strncmp(pp_crash_wanted, "stop:", 5) == 0 && strcmp(pp_crash_wanted + 5, name) == 0) {
        pp_crash_wanted[0] = '\0';
        kill(getpid(), SIGSTOP);
    }
}
#else
typedef int pp_crash_is_not_compiled_in;
#endif
