/* Memory of a machine, and its driver, from folders that look like /proc and /sys: without limits, with those
 * of version 1 and 2, of the group and of one around it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/folders.h"
#include "base/machine.h"

static char root[256];

static void put(const char *path, const char *text) {
    char name[512], folder[512];
    snprintf(name, sizeof name, "%s%s", root, path);
    snprintf(folder, sizeof folder, "%.*s", (int)(strrchr(name, '/') - name), name);
    assert_int_equal(sy_folder_make(folder), SY_OK);
    FILE *f = fopen(name, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static void expect(int64_t total, int64_t available) {
    struct sy_machine_memory m = sy_machine_memory_below(root);
    if (m.total != total || m.available != available)
        fail_msg("%lld and %lld, must be %lld and %lld", (long long)m.total, (long long)m.available,
                 (long long)total, (long long)available);
}

static void test_memory(void **state) {
    (void)state;
    snprintf(root, sizeof root, "/tmp/switchyard-test-machine-XXXXXX");
    assert_non_null(mkdtemp(root));
    expect(0, 0);
    put("/proc/meminfo",
        "MemTotal:        4000 kB\nMemFree:   10 kB\nMemAvailable:    3000 kB\nSwapTotal: 7 kB\n");
    expect(4096000, 3072000);
    put("/proc/self/cgroup", "0::/a/b\n");
    expect(4096000, 3072000);
    put("/sys/fs/cgroup/a/b/memory.max", "max\n");
    expect(4096000, 3072000);
    put("/sys/fs/cgroup/a/memory.max", "3500000\n"); /* of the group around it */
    expect(3500000, 3072000);
    put("/sys/fs/cgroup/a/b/memory.max", "1000000\n");
    expect(1000000, 1000000);
    put("/proc/self/cgroup", "0::/\n");
    expect(4096000, 3072000);
    put("/sys/fs/cgroup/memory.max", "2000000\n"); /* in a container its group is the root */
    expect(2000000, 2000000);
    put("/proc/self/cgroup", "7:cpu,cpuacct:/x\n5:memory:/x\nrubbish\n");
    put("/sys/fs/cgroup/memory/x/memory.limit_in_bytes", "9223372036854771712\n");
    expect(4096000, 3072000);
    put("/sys/fs/cgroup/memory/memory.limit_in_bytes", "1500000\n");
    expect(1500000, 1500000);
    char command[300];
    snprintf(command, sizeof command, "rm -r %s", root);
    assert_int_equal(system(command), 0);
    struct sy_machine_memory here = sy_machine_memory();
    assert_true(here.total > 0 && here.available > 0 && here.available <= here.total);
}

static void test_driver(void **state) {
    (void)state;
    char version[SY_MACHINE_DRIVER], command[300];
    snprintf(root, sizeof root, "/tmp/switchyard-test-machine-XXXXXX");
    assert_non_null(mkdtemp(root));
    sy_machine_nvidia_driver(root, version);
    assert_string_equal(version, "");
    put("/sys/module/nvidia/version", "580.159.04\n");
    sy_machine_nvidia_driver(root, version);
    assert_string_equal(version, "580.159.04");
    put("/sys/module/nvidia/version", "\n");
    sy_machine_nvidia_driver(root, version);
    assert_string_equal(version, "");
    snprintf(command, sizeof command, "rm -r %s", root);
    assert_int_equal(system(command), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_memory), cmocka_unit_test(test_driver)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
