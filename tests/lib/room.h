/* A temporary folder for a test program: cmocka's group set-up and tear-down. */
#ifndef TESTS_LIB_ROOM_H
#define TESTS_LIB_ROOM_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char room[128];

static inline int open_room(void **state) {
    (void)state;
    const char *tmp = getenv("TMPDIR");
    snprintf(room, sizeof room, "%s/switchyard.XXXXXX", tmp && *tmp && strlen(tmp) < 100 ? tmp : "/tmp");
    return mkdtemp(room) ? 0 : -1;
}

static inline int close_room(void **state) {
    char command[200];
    (void)state;
    snprintf(command, sizeof command, "rm -rf '%s'", room);
    return system(command);
}

#endif
