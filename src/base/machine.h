/* What this machine lends to a process. */
#ifndef SY_BASE_MACHINE_H
#define SY_BASE_MACHINE_H

#include <stdint.h>

struct sy_machine_memory {
    int64_t total;     /* bytes: of the machine, or fewer if a control group allows fewer; 0: not known */
    int64_t available; /* of these, what could be taken now without swapping; at most total */
};

/* Local. Reads /proc and /sys/fs/cgroup (version 1 and 2); what is not there bounds nothing. */
struct sy_machine_memory sy_machine_memory(void);

/* Local. The same from a folder in place of / : for tests. */
struct sy_machine_memory sy_machine_memory_below(const char *root);

/* Local. The version of NVIDIA's driver by /sys below `root` ("": this machine's), "" without one. */
enum { SY_MACHINE_DRIVER = 64 };
void sy_machine_nvidia_driver(const char *root, char out[SY_MACHINE_DRIVER]);

#endif
