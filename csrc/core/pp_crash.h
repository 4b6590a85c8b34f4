/* Crash points: PP_CRASH_POINT("clone.made") ends the process by SIGKILL if that point is wanted: named by the environment
 * variable POLYPROC_CRASH when the core is loaded, or by crash_at() since. Compiled in only with -DPP_CRASHPOINTS, for
 * tests; else it is nothing. "stop:clone.made" stops the process there once, by SIGSTOP.
 *
 * Each point stands right behind a step that another process acts on. The table in csrc/README.md says,
 * for each, what is left behind and who repairs it; each row there has a test.
 */
#ifndef PP_CRASH_H
#define PP_CRASH_H

#ifdef PP_CRASHPOINTS
extern char pp_crash_wanted[64];
void pp_crash_here(const char *name);
#define PP_CRASH_POINT(name) (pp_crash_wanted[0] != '\0' ? pp_crash_here(name) : (void)0)
#else
#define PP_CRASH_POINT(name) ((void)0)
#endif

#endif
