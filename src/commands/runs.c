/* switchyard runs: a row for each run in a folder, each column as wide as it must be. */
#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "report/state.h"
#include "train/io.h"

enum { COLUMNS = 5, WIDEST = 24 }; /* ahead of the digest; bytes that a name widens its column to, at most */

struct row {
    char cell[COLUMNS][201], digest[40];
    char error[600]; /* a run that cannot be read; "" */
};

static int has_metrics(const char *dir) {
    char path[4400];
    struct stat st;
    snprintf(path, sizeof path, "%s/metrics.jsonl", dir);
    return stat(path, &st) == 0;
}

/* A name may have any characters: a row is a line all the same, and a terminal gets no escapes. */
static void set_name(struct row *r, const char *file) {
    snprintf(r->cell[0], sizeof r->cell[0], "%.200s", file);
    for (char *c = r->cell[0]; *c; c++)
        *c = (unsigned char)*c < 32 || *c == 127 ? '?' : *c;
}

static void read_row(struct row *r, const char *file, const char *dir) {
    struct sy_run_state s;
    *r = (struct row){.error = ""};
    set_name(r, file);
    if (sy_run_state_read(dir, &s) != SY_OK) {
        snprintf(r->error, sizeof r->error, "%s", sy_error_message());
        return;
    }
    snprintf(r->cell[1], sizeof r->cell[1], s.steps ? "%lld/%lld" : "%lld", (long long)s.step,
             (long long)s.steps);
    snprintf(r->cell[2], sizeof r->cell[2], isfinite(s.loss) && fabs(s.loss) < 1e5 ? "%.4f" : "-", s.loss);
    snprintf(r->cell[3], sizeof r->cell[3], "%lld", (long long)s.tokens);
    snprintf(r->cell[4], sizeof r->cell[4], "%s", sy_run_state_word(&s));
    snprintf(r->digest, sizeof r->digest, "%s", *s.digest ? s.digest : "-");
}

static void print(const struct sy_io *io, const struct row *row, int n) {
    int width[COLUMNS] = {0};
    for (int i = 0; i < n; i++)
        for (int c = 0; c < COLUMNS; c++) {
            int wide = (int)strlen(row[i].cell[c]);
            width[c] = wide > width[c] ? wide : width[c];
        }
    width[0] = width[0] > WIDEST ? WIDEST : width[0];
    for (int i = 0; i < n; i++) {
        const struct row *r = &row[i];
        if (*r->error)
            sy_io_printf(io, "%-*s %s\n", width[0], r->cell[0], r->error);
        else
            sy_io_printf(io, "%-*s %*s %*s %*s %-*s %s\n", width[0], r->cell[0], width[1], r->cell[1],
                         width[2], r->cell[2], width[3], r->cell[3], width[4], r->cell[4], r->digest);
    }
}

static int not_hidden(const struct dirent *e) { return e->d_name[0] != '.'; }

/* rows [1 + n]: the head, then those of the entries that are runs. Returns how many are set; 1: no run. */
static int read_rows(struct row *rows, const char *dir, struct dirent *const *entry, int n) {
    static const struct row head = {{"run", "step", "loss", "tokens", "state"}, "digest", ""};
    int set = 1;
    rows[0] = head;
    for (int i = 0; i < n; i++) {
        char path[4300];
        int fits = snprintf(path, sizeof path, "%s/%s", dir, entry[i]->d_name) < (int)sizeof path;
        if (fits && has_metrics(path))
            read_row(&rows[set++], entry[i]->d_name, path);
    }
    return set;
}

sy_status sy_runs(const char *dir, const struct sy_io *io) {
    struct dirent **entry;
    int n = scandir(dir, &entry, not_hidden, alphasort);
    if (n < 0)
        SY_FAIL(SY_ERR_IO, "%s: cannot be read: %s; give the folder that runs are in", dir, strerror(errno));
    struct row *rows = malloc(((size_t)n + 1) * sizeof *rows);
    int set = rows ? read_rows(rows, dir, entry, n) : 0;
    for (int i = 0; i < n; i++)
        free(entry[i]);
    free(entry);
    if (!rows)
        SY_FAIL(SY_ERR_MEMORY, "%s: no memory for a table of %d runs", dir, n);
    if (set > 1)
        print(io, rows, set);
    else
        sy_io_printf(io, "%s: no folder in it has a metrics.jsonl\n", dir);
    free(rows);
    return SY_OK;
}
