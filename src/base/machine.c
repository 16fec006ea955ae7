/* Memory of the machine and of the control groups that this process is in: see machine.h. */
#include "base/machine.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PATH_BYTES = 4096 };

/* A file that is one number; -1 if there is none ("max", or no such file). */
static int64_t read_number(const char *path) {
    long long n = -1;
    FILE *f = fopen(path, "r");
    if (f && fscanf(f, "%lld", &n) != 1)
        n = -1;
    if (f)
        fclose(f);
    return n;
}

static int64_t least(int64_t a, int64_t b) { return b >= 0 && b < a ? b : a; }

/* The limit of the group at `path` below `base`, and of every group around it. */
static int64_t group_limit(const char *base, const char *path, const char *file, int64_t limit) {
    char dir[PATH_BYTES], name[PATH_BYTES + 64];
    snprintf(dir, sizeof dir, "%s", path);
    for (;;) {
        snprintf(name, sizeof name, "%.2000s%.2000s/%s", base, dir, file);
        limit = least(limit, read_number(name));
        char *slash = strrchr(dir, '/');
        if (!slash)
            return limit;
        *slash = 0;
    }
}

/* A line of /proc/self/cgroup: "0::/path" (version 2) or "5:memory:/path" (version 1). */
static int64_t line_limit(const char *root, char *line, int64_t limit) {
    char base[PATH_BYTES];
    line[strcspn(line, "\n")] = 0;
    char *controllers = strchr(line, ':'), *path = controllers ? strchr(controllers + 1, ':') : NULL;
    if (!path)
        return limit;
    *path++ = 0;
    controllers++;
    if (*controllers == 0) {
        snprintf(base, sizeof base, "%s/sys/fs/cgroup", root);
        return group_limit(base, path, "memory.max", limit);
    }
    if (strcmp(controllers, "memory") != 0)
        return limit;
    snprintf(base, sizeof base, "%s/sys/fs/cgroup/memory", root);
    return group_limit(base, path, "memory.limit_in_bytes", limit);
}

static int64_t kib_of(const char *line, const char *name) {
    size_t n = strlen(name);
    return strncmp(line, name, n) == 0 ? 1024 * strtoll(line + n, NULL, 10) : -1;
}

struct sy_machine_memory sy_machine_memory_below(const char *root) {
    struct sy_machine_memory m = {0, 0};
    char path[PATH_BYTES], line[PATH_BYTES];
    snprintf(path, sizeof path, "%s/proc/meminfo", root);
    FILE *f = fopen(path, "r");
    while (f && fgets(line, sizeof line, f)) {
        int64_t total = kib_of(line, "MemTotal:"), available = kib_of(line, "MemAvailable:");
        m.total = total >= 0 ? total : m.total;
        m.available = available >= 0 ? available : m.available;
    }
    if (f)
        fclose(f);
    snprintf(path, sizeof path, "%s/proc/self/cgroup", root);
    f = fopen(path, "r");
    while (f && m.total && fgets(line, sizeof line, f))
        m.total = line_limit(root, line, m.total);
    if (f)
        fclose(f);
    m.available = least(m.total, m.available);
    return m;
}

struct sy_machine_memory sy_machine_memory(void) {
    return sy_machine_memory_below("");
}

void sy_machine_nvidia_driver(const char *root, char out[SY_MACHINE_DRIVER]) {
    char path[PATH_BYTES];
    snprintf(path, sizeof path, "%.2000s/sys/module/nvidia/version", root);
    FILE *f = fopen(path, "r");
    *out = 0;
    if (f && fscanf(f, "%63[0-9A-Za-z._-]", out) != 1)
        *out = 0;
    if (f)
        fclose(f);
}
