/* Where a run stands: see state.h. */
#include "report/state.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config/config.h"
#include "formats/json.h"

enum { MAX_TAIL = 128 << 20, FIRST_TAIL = 1 << 16 };

int sy_run_is_live(const char *dir) {
    char path[4200], line[256];
    struct stat st;
    int found = 0;
    snprintf(path, sizeof path, "%s/.lock", dir);
    if (stat(path, &st) != 0)
        return 0;
    FILE *f = fopen("/proc/locks", "r"); /* 1: FLOCK  ADVISORY  WRITE 1234 fe:01:5678 0 EOF */
    while (f && !found && fgets(line, sizeof line, f)) {
        unsigned long long inode;
        found = sscanf(line, "%*s FLOCK %*s WRITE %*s %*x:%*x:%llu", &inode) == 1 && inode == st.st_ino;
    }
    if (f)
        fclose(f);
    return found;
}

const char *sy_run_state_word(const struct sy_run_state *s) {
    if (s->is_running)
        return "running";
    return s->step == 0 ? "new" : s->steps && s->step >= s->steps ? "done" : "stopped";
}

/* --- the last line of a step -------------------------------------------------------------------- */

/* 1: it is one of a step, and *out is filled. */
static int take(const char *line, size_t bytes, struct sy_run_state *out) {
    json_error_t error;
    int out_of_memory = 0;
    json_t *j = sy_json_too_deep(line, bytes, SY_JSON_MAX_DEPTH)
                    ? NULL
                    : sy_json_decode(line, bytes, JSON_REJECT_DUPLICATES, &error, &out_of_memory);
    const char *kind = json_string_value(json_object_get(j, "kind")),
               *digest = json_string_value(json_object_get(j, "weights_digest"));
    const json_t *step = json_object_get(j, "step"), *loss = json_object_get(j, "loss");
    int is_step = kind && strcmp(kind, "train") == 0 && json_is_integer(step) && json_integer_value(step) > 0;
    if (is_step) {
        out->step = json_integer_value(step);
        out->tokens = json_integer_value(json_object_get(j, "tokens"));
        out->loss = json_is_number(loss) ? json_number_value(loss) : (double)NAN;
        snprintf(out->digest, sizeof out->digest, "%s", digest ? digest : "");
    }
    json_decref(j);
    return is_step;
}

/* The last line of a step in text[0 … n-1]; `whole`: the text begins with a line. */
static int find(const char *text, size_t n, int whole, struct sy_run_state *out) {
    while (n && text[n - 1] != '\n')
        n--; /* torn */
    while (n) {
        size_t end = n - 1, begin = end;
        while (begin && text[begin - 1] != '\n')
            begin--;
        if (begin == 0 && !whole)
            return 0;
        if (take(text + begin, end - begin, out))
            return 1;
        n = begin;
    }
    return 0;
}

static sy_status read_tail(int fd, const char *path, off_t size, struct sy_run_state *out) {
    for (size_t want = FIRST_TAIL;; want *= 4) {
        size_t n = (off_t)want < size ? want : (size_t)size;
        char *text = malloc(n + 1);
        if (!text)
            SY_FAIL(SY_ERR_MEMORY, "%s: out of memory for its last %zu bytes", path, n);
        ssize_t got = pread(fd, text, n, size - (off_t)n);
        int found = got == (ssize_t)n && find(text, n, (off_t)n == size, out);
        free(text);
        if (got < 0)
            SY_FAIL(SY_ERR_IO, "%s: cannot be read: %s", path, strerror(errno));
        if (found || (off_t)n == size)
            return SY_OK;
        if (want >= MAX_TAIL)
            SY_FAIL(SY_ERR_DATA, "%s: its last %zu bytes have no line of a step", path, n);
    }
}

static int64_t steps_of(const char *dir) {
    char path[4200];
    struct sy_config *config = NULL;
    int64_t steps = 0;
    snprintf(path, sizeof path, "%s/config.toml", dir);
    if (access(path, R_OK) == 0 && sy_config_create(&config) == SY_OK &&
        sy_config_load_file(config, path) == SY_OK)
        steps = config->training.steps;
    sy_config_destroy(config);
    return steps;
}

sy_status sy_run_state_read(const char *dir, struct sy_run_state *out) {
    char path[4200];
    struct stat st;
    *out = (struct sy_run_state){.loss = NAN};
    snprintf(path, sizeof path, "%s/metrics.jsonl", dir);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) != 0) {
        int why = errno;
        if (fd >= 0)
            close(fd);
        SY_FAIL(SY_ERR_IO, "%s: cannot be read: %s", path, strerror(why));
    }
    sy_status status = read_tail(fd, path, st.st_size, out);
    close(fd);
    out->steps = steps_of(dir);
    out->is_running = sy_run_is_live(dir);
    return status;
}
