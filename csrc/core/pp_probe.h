/* Which system calls of the core are to be had here: each is made once, without effect. For `python -m polyproc doctor`; who
 * needs one makes it, and goes another way where it is refused. */
#ifndef PP_PROBE_H
#define PP_PROBE_H

struct pp_probed {
    const char *call;
    int error; /* 0, or the errno with which it is refused */
};

#define PP_PROBES 7

void pp_probe(struct pp_probed found[PP_PROBES]);

#endif
