/* A run as it was before a step: see redo.h. */
#include "commands/redo.h"

#include <stdio.h>
#include <string.h>

sy_status sy_redo_config(const char *run, int64_t last, struct sy_config *was,
                         char where[SY_CKPT_PATH_BYTES]) {
    struct sy_ckpt *after;
    sy_status status;
    SY_TRY(sy_ckpt_find_from(run, last, &after));
    if (after) {
        const struct sy_ckpt_info *info = sy_ckpt_info(after);
        snprintf(where, SY_CKPT_PATH_BYTES, "%s", info->path);
        status = sy_config_load_text(was, info->path, info->config, strlen(info->config));
    } else {
        status = snprintf(where, SY_CKPT_PATH_BYTES, "%s/config.toml", run) < SY_CKPT_PATH_BYTES
                     ? sy_config_load_file(was, where)
                     : sy_fail(SY_ERR_USAGE, "a path is longer than %d bytes", SY_CKPT_PATH_BYTES - 1);
    }
    sy_ckpt_close(after);
    return status == SY_OK ? sy_config_finish(was, false) : status;
}

sy_status sy_redo_find(const char *run, int64_t before, const struct sy_log *log, struct sy_resume *resume) {
    struct sy_ckpt *ckpt = NULL;
    sy_status found = sy_ckpt_find_before(run, before, log, NULL, &ckpt);
    if (found != SY_OK && found != SY_ERR_DATA) /* damaged, all of them: the log has named each */
        return found;
    return sy_resume_from(ckpt, resume);
}

sy_status sy_redo_start(struct sy_config *config, const struct sy_log *log, struct sy_resume *resume,
                        const struct sy_comm *world, struct sy_session **out, int64_t *step) {
    static const struct sy_log nobody;
    char digest[SY_DIGEST_CHARS];
    int parts = SY_SESSION_TRAIN | SY_SESSION_DATA | (resume->ckpt ? 0 : SY_SESSION_INIT);
    struct sy_session *s;
    struct sy_session_options o = {.config = config, .log = log, .parts = parts, .world = world};
    SY_TRY(world ? sy_session_join(&o, &s) : sy_session_create(config, log, parts, &s));
    *step = 0;
    sy_status status = resume->ckpt ? sy_resume_load(resume, s, log ? log : &nobody, step, digest) : SY_OK;
    if (status == SY_OK)
        *out = s;
    else
        sy_session_destroy(s);
    return status;
}
