/* The processors that this process may use: see cpus.h.
 *
 *     /proc/self/cgroup      4:cpu,cpuacct:/a/b   0::/a/b        the group, of version 1 and 2
 *     /proc/self/mountinfo   … /a /sys/fs/cgroup/cpu … - cgroup cgroup rw,cpu    where /a of the groups is
 */
#include "base/cpus.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PATH = 4096, MOST_CPUS = 1 << 16 };

static FILE *open_below(const char *root, const char *path) {
    char whole[2 * PATH];
    int n = snprintf(whole, sizeof whole, "%s%s", root, path);
    return n > 0 && n < (int)sizeof whole ? fopen(whole, "re") : NULL;
}

/* Whether `word` is one of the words of a list that commas part. */
static int has_word(const char *list, const char *word) {
    size_t n = strlen(word);
    for (const char *p = list; p; p = strchr(p, ',') ? strchr(p, ',') + 1 : NULL)
        if (strncmp(p, word, n) == 0 && (p[n] == ',' || p[n] == 0))
            return 1;
    return 0;
}

/* Up to two numbers of a file's first line; how many there are. "max" is none. */
static int numbers(const char *root, const char *folder, const char *name, long long out[2]) {
    char path[PATH + 64], line[128];
    int n = 0;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *f = open_below(root, path);
    if (f && fgets(line, sizeof line, f))
        n = sscanf(line, "%lld %lld", &out[0], &out[1]);
    if (f)
        fclose(f);
    return n > 0 ? n : 0;
}

/* quota / period of a group, rounded up; `most` if it has none or a larger one. */
static int bound(const char *root, const char *folder, int version, int most) {
    long long q[2] = {0, 0}, period[2] = {0, 0};
    if (version == 2) {
        if (numbers(root, folder, "cpu.max", q) != 2)
            return most;
    } else if (numbers(root, folder, "cpu.cfs_quota_us", q) == 1 &&
               numbers(root, folder, "cpu.cfs_period_us", period) == 1) {
        q[1] = period[0];
    }
    if (q[0] <= 0 || q[1] <= 0 || q[0] / q[1] >= most)
        return most;
    return (int)(q[0] / q[1] + (q[0] % q[1] > 0));
}

/* The group's folder and those above it, up to the mount. A group that lies elsewhere (a namespace hides
 * it) is the mount.
 */
static int bound_upwards(const char *root, const char *mount, const char *mounted, const char *group,
                         int version, int most) {
    char folder[2 * PATH];
    size_t n = strcmp(mounted, "/") == 0 ? 0 : strlen(mounted);
    const char *below =
        strncmp(group, mounted, n) == 0 && (group[n] == '/' || group[n] == 0) ? group + n : "";
    if (strstr(below, "/..") || strlen(mount) + strlen(below) >= PATH)
        below = "";
    snprintf(folder, sizeof folder, "%s%s", mount, below);
    for (size_t end = strlen(folder); end >= strlen(mount) && end > 0; end--) {
        if (folder[end] != 0 && folder[end] != '/')
            continue;
        folder[end] = 0;
        most = bound(root, folder, version, most);
    }
    return most;
}

/* The process's group of a version: of 1 the one of the controller "cpu". */
static int find_group(const char *root, int version, char out[PATH]) {
    char line[PATH], controllers[PATH];
    int found = 0;
    FILE *f = open_below(root, "/proc/self/cgroup");
    while (f && !found && fgets(line, sizeof line, f)) {
        line[strcspn(line, "\n")] = 0;
        char *first = strchr(line, ':'), *second = first ? strchr(first + 1, ':') : NULL;
        if (!second)
            continue;
        snprintf(controllers, sizeof controllers, "%.*s", (int)(second - first - 1), first + 1);
        found = version == 2 ? !*controllers : has_word(controllers, "cpu");
        snprintf(out, PATH, "%s", second + 1);
    }
    if (f)
        fclose(f);
    return found;
}

static int bound_of(const char *root, int version, int most) {
    char group[PATH], line[PATH], mounted[PATH], mount[PATH], type[64], options[PATH];
    if (!find_group(root, version, group))
        return most;
    FILE *f = open_below(root, "/proc/self/mountinfo");
    while (f && fgets(line, sizeof line, f)) {
        const char *rest = strstr(line, " - ");
        if (!rest || sscanf(line, "%*s %*s %*s %4095s %4095s", mounted, mount) != 2 ||
            sscanf(rest, " - %63s %*s %4095s", type, options) != 2)
            continue;
        if (version == 2 ? strcmp(type, "cgroup2") == 0
                         : strcmp(type, "cgroup") == 0 && has_word(options, "cpu"))
            most = bound_upwards(root, mount, mounted, group, version, most);
    }
    if (f)
        fclose(f);
    return most;
}

int sy_cpus_in_quota(const char *root, int most) {
    for (int version = 1; version <= 2; version++)
        most = bound_of(root, version, most);
    return most < 1 ? 1 : most;
}

/* The mask has no known size: it grows until the kernel's fits. */
static int in_mask(void) {
    int found = 0;
    for (int n = 1024; n <= MOST_CPUS && !found; n *= 2) {
        cpu_set_t *set = CPU_ALLOC((size_t)n);
        if (!set)
            break;
        if (sched_getaffinity(0, CPU_ALLOC_SIZE((size_t)n), set) == 0)
            found = CPU_COUNT_S(CPU_ALLOC_SIZE((size_t)n), set);
        else if (errno != EINVAL)
            n = MOST_CPUS;
        CPU_FREE(set);
    }
    if (found < 1)
        found = (int)sysconf(_SC_NPROCESSORS_ONLN);
    return found < 1 ? 1 : found;
}

int sy_cpus_usable(void) { return sy_cpus_in_quota("", in_mask()); }

int sy_cpus_shared(int processes) {
    int mine = in_mask(), online = (int)sysconf(_SC_NPROCESSORS_ONLN);
    int share = sy_cpus_in_quota("", online > mine ? online : mine) / processes;
    return share < 1 ? 1 : share < mine ? share : mine;
}
