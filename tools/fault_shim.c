/* LD_PRELOAD: the n-th system call on a file under some path fails. For tools/inject_faults.sh.
 *
 *     cc -shared -fPIC -O1 -o fault_shim.so tools/fault_shim.c -ldl
 *     SY_FAULT_PATH   count only calls whose path, or whose descriptor's path, contains this
 *     SY_FAULT_N      the call that fails, from 1; 0 counts only
 *     SY_FAULT_KIND   enospc, eio, eintr; short: a read or write takes half of its bytes, others are let be
 *     SY_FAULT_STICKY 1: every later call of the same name fails too (a disk stays full, a sector stays bad)
 *     SY_FAULT_REPORT a file that gets "<calls counted> <name of the call that failed>"
 * Counted: open openat read pread write pwrite fsync rename renameat2 mkdir opendir. Descriptors above 1023
 * are not tracked.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PASS, FAIL, SHORT };

static atomic_long count;
static atomic_char tracked[1024];
static _Atomic(const char *) failed;

static int applies(const char *path) {
    const char *part = getenv("SY_FAULT_PATH");
    return path && part && strstr(path, part) != NULL;
}

static int is_tracked(int fd) { return fd >= 0 && fd < 1024 && tracked[fd]; }

/* What happens to this counted call; sets errno if it fails. */
static int fate(const char *call) {
    long n = atomic_fetch_add(&count, 1) + 1, at = getenv("SY_FAULT_N") ? atol(getenv("SY_FAULT_N")) : 0;
    const char *kind = getenv("SY_FAULT_KIND"), *sticky = getenv("SY_FAULT_STICKY");
    if (n == at)
        failed = call;
    else if (!(failed && sticky && *sticky == '1' && strcmp(failed, call) == 0))
        return PASS;
    if (!kind || strcmp(kind, "short") == 0)
        return SHORT;
    errno = strcmp(kind, "enospc") == 0 ? ENOSPC : strcmp(kind, "eintr") == 0 ? EINTR : EIO;
    return FAIL;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define OR_FAIL(call, failure)  \
    do {                        \
        if (fate(call) == FAIL) \
            return failure;     \
    } while (0)

static int note(int fd, int yes) {
    if (fd >= 0 && fd < 1024)
        tracked[fd] = (char)yes;
    return fd;
}

#define MODE(flags, mode)                    \
    unsigned mode = 0;                       \
    if ((flags) & (O_CREAT | __O_TMPFILE)) { \
        va_list args;                        \
        va_start(args, flags);               \
        mode = va_arg(args, unsigned);       \
        va_end(args);                        \
    }

int open(const char *path, int flags, ...) {
    MODE(flags, mode)
    if (applies(path))
        OR_FAIL("open", -1);
    return note(REAL(open)(path, flags, mode), applies(path));
}

int open64(const char *path, int flags, ...) {
    MODE(flags, mode)
    if (applies(path))
        OR_FAIL("open", -1);
    return note(REAL(open64)(path, flags, mode), applies(path));
}

int openat(int parent, const char *path, int flags, ...) {
    MODE(flags, mode)
    int yes = applies(path) || is_tracked(parent);
    if (yes)
        OR_FAIL("openat", -1);
    return note(REAL(openat)(parent, path, flags, mode), yes);
}

int close(int fd) {
    note(fd, 0);
    return REAL(close)(fd);
}

#define TRANSFER(name, text, buffer, ...)                \
    {                                                    \
        if (is_tracked(fd)) {                            \
            int what = fate(text);                       \
            if (what == FAIL)                            \
                return -1;                               \
            if (what == SHORT && n > 1)                  \
                n /= 2;                                  \
        }                                                \
        return REAL(name)(fd, buffer, n, ##__VA_ARGS__); \
    }

ssize_t read(int fd, void *to, size_t n) TRANSFER(read, "read", to) ssize_t
    pread(int fd, void *to, size_t n, off_t at) TRANSFER(pread, "pread", to, at) ssize_t
    pread64(int fd, void *to, size_t n, off64_t at) TRANSFER(pread64, "pread", to, at) ssize_t
    write(int fd, const void *from, size_t n) TRANSFER(write, "write", from) ssize_t
    pwrite(int fd, const void *from, size_t n, off_t at) TRANSFER(pwrite, "pwrite", from, at) ssize_t
    pwrite64(int fd, const void *from, size_t n, off64_t at) TRANSFER(pwrite64, "pwrite", from, at)

        int fsync(int fd) {
    if (is_tracked(fd))
        OR_FAIL("fsync", -1);
    return REAL(fsync)(fd);
}

int rename(const char *from, const char *to) {
    if (applies(from))
        OR_FAIL("rename", -1);
    return REAL(rename)(from, to);
}

int renameat2(int a, const char *from, int b, const char *to, unsigned flags) {
    if (applies(from))
        OR_FAIL("renameat2", -1);
    return REAL(renameat2)(a, from, b, to, flags);
}

int mkdir(const char *path, mode_t mode) {
    if (applies(path))
        OR_FAIL("mkdir", -1);
    return REAL(mkdir)(path, mode);
}

DIR *opendir(const char *path) {
    if (applies(path))
        OR_FAIL("opendir", NULL);
    return REAL(opendir)(path);
}

__attribute__((destructor)) static void report(void) {
    const char *path = getenv("SY_FAULT_REPORT"), *call = failed;
    FILE *f = path ? fopen(path, "w") : NULL;
    if (!f)
        return;
    fprintf(f, "%ld %s\n", (long)count, call ? call : "none");
    fclose(f);
}
