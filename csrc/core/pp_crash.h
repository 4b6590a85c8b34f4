/* Crash points: PP_CRASH_POINT("clone.made") ends the process by SIGKILL when the environment variable
 * POLYPROC_CRASH names that point. Compiled in only with -DPP_CRASHPOINTS, for tests; else it is nothing.
 *
 * Each point stands right behind a step that another process acts on. The table in csrc/README.md says,
 * for each, what is left behind and who repairs it; each row there has a test.
 */
#ifndef PP_CRASH_H
#define PP_CRASH_H

#ifdef PP_CRASHPOINTS
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static inline void pp_crash_point(const char *name)
{
    const char *wanted = getenv("POLYPROC_CRASH");
    if (wanted != NULL && strcmp(wanted, name) == 0) {
        kill(getpid(), SIGKILL);
    }
}
#define PP_CRASH_POINT(name) pp_crash_point(name)
#else
#define PP_CRASH_POINT(name) ((void)0)
#endif

#endif
