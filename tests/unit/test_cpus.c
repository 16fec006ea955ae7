/* Processors that a process may use: quotas of made-up control groups, and the mask of this process. */
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/cpus.h"
#include "base/folders.h"
#include "base/threads.h"

static char room[64];

static int set_up(void **state) {
    (void)state;
    const char *tmp = getenv("TMPDIR");
    snprintf(room, sizeof room, "%s/sy-cpus-XXXXXX", tmp && strlen(tmp) < 40 ? tmp : "/tmp");
    return mkdtemp(room) ? 0 : 1;
}

static int tear_down(void **state) {
    char command[128];
    (void)state;
    snprintf(command, sizeof command, "rm -rf '%s'", room);
    return system(command);
}

/* A file of the made-up system `name`. */
static void put(const char *name, const char *path, const char *text) {
    char whole[512], *slash;
    snprintf(whole, sizeof whole, "%s/%s%s", room, name, path);
    slash = strrchr(whole, '/');
    *slash = 0;
    assert_int_equal(sy_folder_make(whole), SY_OK);
    *slash = '/';
    FILE *f = fopen(whole, "w");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

static int usable(const char *name, int most) {
    char root[256];
    snprintf(root, sizeof root, "%s/%s", room, name);
    return sy_cpus_in_quota(root, most);
}

#define V1_MOUNT \
    "33 32 0:27 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:10 - cgroup cgroup rw,cpu,cpuacct\n"
#define V1 "/sys/fs/cgroup/cpu,cpuacct"
#define V2_MOUNT "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"
#define V2 "/sys/fs/cgroup"

static void nothing_bounds(void **state) {
    (void)state;
    assert_int_equal(usable("none", 8), 8);
    assert_int_equal(usable("none", 0), 1);
    put("max", "/proc/self/cgroup", "0::/a\n");
    put("max", "/proc/self/mountinfo", V2_MOUNT);
    put("max", V2 "/a/cpu.max", "max 100000\n");
    assert_int_equal(usable("max", 8), 8);
    put("minus", "/proc/self/cgroup", "3:cpu,cpuacct:/a\n");
    put("minus", "/proc/self/mountinfo", V1_MOUNT);
    put("minus", V1 "/a/cpu.cfs_quota_us", "-1\n");
    put("minus", V1 "/a/cpu.cfs_period_us", "100000\n");
    assert_int_equal(usable("minus", 8), 8);
}

/* Rounded up: half a processor more is worth a thread. */
static void version_2(void **state) {
    (void)state;
    put("two", "/proc/self/cgroup", "0::/a/b\n");
    put("two", "/proc/self/mountinfo", "1 2 0:3 / / rw - ext4 /dev/x rw\n" V2_MOUNT);
    put("two", V2 "/a/b/cpu.max", "250000 100000\n");
    assert_int_equal(usable("two", 8), 3);
    assert_int_equal(usable("two", 2), 2);
    put("two", V2 "/a/b/cpu.max", "200000 100000\n");
    assert_int_equal(usable("two", 8), 2);
    put("two", V2 "/a/b/cpu.max", "50000 100000\n");
    assert_int_equal(usable("two", 8), 1);
    put("two", V2 "/a/b/cpu.max", "800000 100000\n");
    assert_int_equal(usable("two", 8), 8);
    put("two", V2 "/a/cpu.max", "400000 100000\n"); /* the group above bounds it, too */
    assert_int_equal(usable("two", 8), 4);
    put("two", V2 "/cpu.max", "300000 100000\n");
    assert_int_equal(usable("two", 8), 3);
}

static void version_1(void **state) {
    (void)state;
    put("one", "/proc/self/cgroup", "5:cpuset:/a\n4:memory:/x\n3:cpu,cpuacct:/a\n0::/\n");
    put("one", "/proc/self/mountinfo",
        "31 32 0:25 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset\n" V1_MOUNT);
    put("one", V1 "/a/cpu.cfs_quota_us", "150000\n");
    put("one", V1 "/a/cpu.cfs_period_us", "50000\n");
    put("one", "/sys/fs/cgroup/cpuset/a/cpu.cfs_quota_us", "50000\n"); /* no such file there */
    put("one", "/sys/fs/cgroup/cpuset/a/cpu.cfs_period_us", "50000\n");
    assert_int_equal(usable("one", 8), 3);
}

/* In a container the mount shows a group of the host, or a namespace hides where the process is. */
static void containers(void **state) {
    (void)state;
    put("docker", "/proc/self/cgroup", "3:cpu,cpuacct:/docker/17/in\n");
    put("docker", "/proc/self/mountinfo", "33 32 0:27 /docker/17 " V1 " ro - cgroup cgroup rw,cpu,cpuacct\n");
    put("docker", V1 "/cpu.cfs_quota_us", "200000\n");
    put("docker", V1 "/cpu.cfs_period_us", "100000\n");
    put("docker", V1 "/in/cpu.cfs_quota_us", "-1\n");
    put("docker", V1 "/in/cpu.cfs_period_us", "100000\n");
    assert_int_equal(usable("docker", 8), 2);
    put("docker", V1 "/in/cpu.cfs_quota_us", "100000\n");
    assert_int_equal(usable("docker", 8), 1);
    put("hidden", "/proc/self/cgroup", "0::/../../elsewhere\n");
    put("hidden", "/proc/self/mountinfo", V2_MOUNT);
    put("hidden", V2 "/cpu.max", "200000 100000\n");
    assert_int_equal(usable("hidden", 8), 2);
}

static void nonsense(void **state) {
    (void)state;
    static const char *const texts[] = {
        "", "x y\n", "0 0\n", "100000 0\n", "100000 -5\n", "-1 100000\n", "100000\n"};
    put("odd", "/proc/self/cgroup", "no colon\n0::/a\n");
    put("odd", "/proc/self/mountinfo", "short\n - \n1 - cgroup2\n" V2_MOUNT);
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        put("odd", V2 "/a/cpu.max", texts[i]);
        assert_int_equal(usable("odd", 5), 5);
    }
}

/* A pool of 0 threads has one for each processor of the mask, and of those alone. */
static void mask(void **state) {
    (void)state;
    cpu_set_t before, one;
    assert_int_equal(sched_getaffinity(0, sizeof before, &before), 0);
    assert_int_equal(sy_cpus_usable(), sy_cpus_in_quota("", CPU_COUNT(&before)));
    CPU_ZERO(&one);
    for (int i = 0; i < CPU_SETSIZE && CPU_COUNT(&one) == 0; i++)
        if (CPU_ISSET(i, &before))
            CPU_SET(i, &one);
    assert_int_equal(sched_setaffinity(0, sizeof one, &one), 0);
    struct sy_pool *pool;
    int usable_now = sy_cpus_usable();
    assert_int_equal(sy_pool_create(0, &pool), SY_OK);
    int size = sy_pool_size(pool);
    sy_pool_destroy(pool);
    assert_int_equal(sched_setaffinity(0, sizeof before, &before), 0);
    assert_int_equal(usable_now, 1);
    assert_int_equal(size, 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(nothing_bounds), cmocka_unit_test(version_2),
                                       cmocka_unit_test(version_1),      cmocka_unit_test(containers),
                                       cmocka_unit_test(nonsense),       cmocka_unit_test(mask)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
