/* A run's folder: its lock, log.txt, config.toml. See run_folder.h. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/folders.h"
#include "ckpt/checkpoint.h"
#include "train/run_folder.h"
#include "train/session.h"
#include "train/start.h"

static void log_line(void *user, enum sy_log_level level, const char *line) {
    struct sy_run_folder *f = user;
    const char *kind = level == SY_LOG_WARN ? "warning: " : "";
    if (f->log) {
        fprintf(f->log, "%s%s\n", kind, line);
        fflush(f->log);
    } else {
        sy_text_add(&f->early, kind, strlen(kind));
        sy_text_add(&f->early, line, strlen(line));
        sy_text_add(&f->early, "\n", 1);
    }
    if (f->io->log)
        f->io->log(f->io->user, level == SY_LOG_WARN, line);
}

/* The folders of routes, before there is one of the run. */
static sy_status try_routes(const struct sy_config *config) {
    struct sy_step_routes *routes;
    SY_TRY(sy_step_routes_create(config, sy_device_cpu(), 1, &routes));
    sy_status status = sy_step_routes_check(routes, 1, config->training.steps);
    sy_step_routes_destroy(routes);
    return status;
}

/* Where the run is; a config that is refused leaves no folder behind. */
sy_status sy_run_folder_name(struct sy_config *config, const char *name, const struct sy_log *log,
                             char out[4096]) {
    char dir[4096];
    if (config->run.dir[0] == 0) {
        if (!name || !*name)
            SY_FAIL(SY_ERR_USAGE,
                    "run.dir is not given, and the run has no name to call a folder by: give one of them");
        snprintf(dir, sizeof dir, "runs/%s", name);
        SY_TRY(sy_config_set(config, SY_LAYER_RULE, "the config's name", "run.dir", dir));
    }
    snprintf(out, 4096, "%s", config->run.dir);
    if (sy_ckpt_any(out))
        return SY_OK;
    SY_TRY(sy_start_finish(config, log));
    return try_routes(config);
}

sy_status sy_run_folder_lock(struct sy_run_folder *f) {
    char path[4200];
    snprintf(path, sizeof path, "%s/.lock", f->dir);
    f->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (f->lock < 0)
        SY_FAIL(SY_ERR_IO, "%s: cannot be opened: %s", path, strerror(errno));
    if (flock(f->lock, LOCK_EX | LOCK_NB) != 0)
        SY_FAIL(SY_ERR_RUNTIME,
                "run.dir = %s: another process is training there; wait for it or give another run.dir",
                f->dir);
    return SY_OK;
}

/* A new run's folder is made when all that can be refused was not. */
sy_status sy_run_folder_make(struct sy_run_folder *f) {
    sy_status status = sy_folder_make(f->dir);
    if (status != SY_OK)
        return sy_fail_context(status, "run.dir");
    SY_TRY(sy_run_folder_lock(f));
    if (sy_ckpt_any(f->dir))
        SY_FAIL(SY_ERR_RUNTIME,
                "run.dir = %s: another process has trained there meanwhile; run this again to go on", f->dir);
    return SY_OK;
}

sy_status sy_run_folder_open_log(struct sy_run_folder *f) {
    char path[4200];
    snprintf(path, sizeof path, "%s/log.txt", f->dir);
    f->log = fopen(path, "a");
    if (!f->log)
        SY_FAIL(SY_ERR_IO, "%s: cannot be opened for writing: %s", path, strerror(errno));
    if (f->early.n)
        fwrite(f->early.s, 1, f->early.n, f->log);
    fflush(f->log);
    return SY_OK;
}

static void write_text(void *user, const char *text, size_t n) { fwrite(text, 1, n, user); }

sy_status sy_run_folder_write_config(const struct sy_run_folder *f, const struct sy_config *config) {
    char path[4200], tmp[4300];
    snprintf(path, sizeof path, "%s/config.toml", f->dir);
    snprintf(tmp, sizeof tmp, "%s.tmp", path);
    FILE *file = fopen(tmp, "w");
    if (!file)
        SY_FAIL(SY_ERR_IO, "%s: cannot be written: %s", tmp, strerror(errno));
    sy_config_print(config, write_text, file);
    int bad = fflush(file) != 0 || ferror(file) || fsync(fileno(file)) != 0;
    if (fclose(file) != 0 || bad || rename(tmp, path) != 0)
        SY_FAIL(SY_ERR_IO, "%s: cannot be written: %s", path, strerror(errno));
    return SY_OK;
}

struct sy_log sy_run_folder_log(struct sy_run_folder *f) {
    return (struct sy_log){log_line, f};
}

void sy_run_folder_close(struct sy_run_folder *f) {
    free(f->early.s);
    if (f->log)
        fclose(f->log);
    if (f->lock >= 0)
        close(f->lock);
}
