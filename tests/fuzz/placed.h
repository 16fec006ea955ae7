/* Files for readers that want a path: the bytes are in memory, a link in a folder of this process leads to
 * them, so that an input costs no disk. The folder is made at the first use and removed at exit; a crash
 * leaves it.
 */
#ifndef TESTS_FUZZ_PLACED_H
#define TESTS_FUZZ_PLACED_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PLACED_ROOM = 128, PLACED_MAX = 8 };

static char placed_room[PLACED_ROOM], placed_path[PLACED_MAX][2 * PLACED_ROOM];
static int placed_n;

static void placed_remove(void) {
    for (int i = placed_n - 1; i >= 0; i--)
        remove(placed_path[i]);
    remove(placed_room);
}

static void placed_need(int condition, const char *what) {
    if (condition)
        return;
    perror(what);
    _Exit(1);
}

/* ROOM/name, remembered for removal. */
static const char *placed_name(const char *name) {
    if (!*placed_room) {
        const char *tmp = getenv("TMPDIR");
        snprintf(placed_room, sizeof placed_room, "%s/fuzz-XXXXXX",
                 tmp && strlen(tmp) < PLACED_ROOM - 16 ? tmp : "/tmp");
        placed_need(mkdtemp(placed_room) != NULL, placed_room);
        atexit(placed_remove);
    }
    placed_need(placed_n < PLACED_MAX, name);
    snprintf(placed_path[placed_n], sizeof placed_path[0], "%s/%s", placed_room, name);
    return placed_path[placed_n++];
}

/* A folder in the room. */
static inline const char *placed_folder(const char *name) {
    const char *path = placed_name(name);
    placed_need(mkdir(path, 0700) == 0, path);
    return path;
}

/* An empty file in the room: its descriptor, and its path unless NULL. */
static int placed_file(const char *name, const char **path) {
    char target[64];
    const char *link = placed_name(name);
    int fd = memfd_create("fuzz", MFD_CLOEXEC);
    placed_need(fd >= 0, "memfd_create");
    snprintf(target, sizeof target, "/proc/%ld/fd/%d", (long)getpid(), fd);
    placed_need(symlink(target, link) == 0, link);
    if (path)
        *path = link;
    return fd;
}

static void placed_fill(int fd, const void *data, size_t bytes) {
    placed_need(ftruncate(fd, 0) == 0 && pwrite(fd, data, bytes, 0) == (ssize_t)bytes, "memfd");
}

#endif
