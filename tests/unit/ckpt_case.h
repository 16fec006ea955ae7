/* What the tests of checkpoints share: models, a store over flat buffers, files and their corruption. */
#ifndef SY_TESTS_UNIT_CKPT_CASE_H
#define SY_TESTS_UNIT_CKPT_CASE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ckpt/checkpoint.h"
#include "ckpt/internal.h"
#include "../lib/flat.h"
#include "folder.h"

struct model {
    struct sy_config *config;
    struct sy_params *params;
    float *w, *m, *v;
};

static inline float filler(uint64_t i) {
    return (float)((int64_t)(i * 2654435761u % 65521u) - 32760) * 0x1p-12f;
}

/* The finished config is the model's from here on. */
static inline struct model make_model_of(struct sy_config *config) {
    struct model x = {.config = config};
    assert_int_equal(sy_params_create(&x.config->model, &x.config->moe, &x.params), SY_OK);
    size_t n = (size_t)flat_size(x.params);
    x.w = calloc(n, 4);
    x.m = calloc(n, 4);
    x.v = calloc(n, 4);
    assert_true(x.w && x.m && x.v);
    for (int i = 0; i < x.params->n_tensors; i++) {
        const struct sy_tensor *t = &x.params->tensor[i];
        int trained = !flat_is_buffer(x.params, t);
        int64_t first = flat_at(x.params, t);
        for (int64_t k = first; k < first + t->n; k++) {
            x.w[k] = filler((uint64_t)k);
            x.m[k] = trained ? filler((uint64_t)k + 7777777) : 0;
            x.v[k] = trained ? filler((uint64_t)k + 99999999) : 0;
        }
    }
    return x;
}

static inline struct model make_model(const char *flavor) {
    struct sy_config *config = NULL;
    char text[256];
    assert_int_equal(sy_config_create(&config), SY_OK);
    snprintf(text, sizeof text, "[model]\nflavor = \"%s\"\n[numerics]\nclass = \"x86\"\n", flavor);
    assert_int_equal(sy_config_load_text(config, "t", text, strlen(text)), SY_OK);
    assert_int_equal(sy_config_finish(config, false), SY_OK);
    return make_model_of(config);
}

static inline void free_model(struct model *x) {
    sy_params_destroy(x->params);
    sy_config_destroy(x->config);
    free(x->w);
    free(x->m);
    free(x->v);
}

static inline const char *run_of(const char *name) {
    static char path[8][512];
    static int k;
    char *p = path[k++ % 8];
    snprintf(p, sizeof path[0], "%s/%s", folder, name);
    return p;
}

static inline void remove_run(const char *name) { assert_int_equal(sy_ckpt_remove(run_of(name)), 0); }

/* ---- a store over flat buffers ---- */

static inline float *place(const struct model *x, const struct sy_ckpt_range *range) {
    float *of[SY_CKPT_KINDS] = {x->w, x->m, x->v};
    return of[range->kind] + flat_at(x->params, &x->params->tensor[range->tensor]) + range->first;
}

static inline sy_status get_flat(void *self, const struct sy_ckpt_range *range, float *to) {
    memcpy(to, place(self, range), 4 * (size_t)range->n);
    return SY_OK;
}

static inline sy_status put_flat(void *self, const struct sy_ckpt_range *range, const float *from) {
    memcpy(place(self, range), from, 4 * (size_t)range->n);
    return SY_OK;
}

static inline struct sy_ckpt_store store_of(const struct model *x) {
    return (struct sy_ckpt_store){.self = (void *)(uintptr_t)x, .get = get_flat, .put = put_flat};
}

static inline struct sy_ckpt_state state_of(const struct model *x, const struct sy_ckpt_store *store,
                                            int64_t step) {
    return (struct sy_ckpt_state){
        .config = x->config, .params = x->params, .store = store, .step = step, .next_sequence = 8 * step};
}

static inline void save(const struct model *x, const char *run, int64_t step, int64_t keep, int64_t max_bytes,
                        char *path) {
    struct sy_ckpt_store store = store_of(x);
    struct sy_ckpt_state state = state_of(x, &store, step);
    struct sy_ckpt_save_options options = {.keep_latest_k = keep, .max_file_bytes = max_bytes};
    sy_status status = sy_ckpt_save(run_of(run), &state, &options, path);
    if (status != SY_OK)
        fail_msg("save: %s", sy_error_message());
}

/* ---- log lines ---- */

static char lines[16384];

static inline void keep_line(void *user, enum sy_log_level level, const char *line) {
    (void)user;
    size_t n = strlen(lines);
    snprintf(lines + n, sizeof lines - n, "%s%s\n", level == SY_LOG_WARN ? "W " : "I ", line);
}

static const struct sy_log log_lines = {keep_line, NULL};

/* ---- files ---- */

static inline char *slurp(const char *path, size_t *n) {
    FILE *f = fopen(path, "rb");
    if (!f)
        return NULL;
    fseek(f, 0, SEEK_END);
    *n = (size_t)ftell(f);
    rewind(f);
    char *text = malloc(*n + 1);
    assert_non_null(text);
    assert_int_equal(fread(text, 1, *n, f), *n);
    fclose(f);
    return text;
}

static inline void spill(const char *path, const void *text, size_t n) {
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
}

static inline int count_entries(const char *path) {
    DIR *dir = opendir(path);
    int n = -2;
    while (dir && readdir(dir))
        n++;
    if (dir)
        closedir(dir);
    return n;
}

/* Relative names of every file of a checkpoint. */
static inline int list_files(const char *path, char names[64][256]) {
    int n = 0;
    static const char *const inside[] = {"", "optimizer/"};
    for (int i = 0; i < 2; i++) {
        char sub[SY_CKPT_PATH_BYTES + 16];
        snprintf(sub, sizeof sub, "%s/%s", path, inside[i]);
        DIR *dir = opendir(sub);
        struct dirent *entry;
        assert_non_null(dir);
        while ((entry = readdir(dir)))
            if (entry->d_name[0] != '.' && strcmp(entry->d_name, "optimizer") != 0 && n < 64)
                snprintf(names[n++], 256, "%s%s", inside[i], entry->d_name);
        closedir(dir);
    }
    return n;
}

/* ---- a small checkpoint, and what is said of one ---- */

/* Of format version 1, and a model of 6 k parameters. */
#define VERSION_1 "tests/data/checkpoint_v1/step-00000002"

static inline struct model model_of(const char *path) {
    struct sy_ckpt *c = NULL;
    struct sy_config *config = NULL;
    assert_int_equal(sy_ckpt_open(path, 1, &c), SY_OK);
    assert_int_equal(sy_config_create(&config), SY_OK);
    assert_int_equal(sy_ckpt_config(c, 1, config), SY_OK);
    assert_int_equal(sy_config_finish(config, false), SY_OK);
    sy_ckpt_close(c);
    return make_model_of(config);
}

static inline void copy_file(const char *from, const char *to) {
    size_t n = 0;
    char *text = slurp(from, &n);
    assert_non_null(text);
    spill(to, text, n);
    free(text);
}

static inline sy_status verify(const char *path) {
    struct sy_ckpt *c = NULL;
    sy_status status = sy_ckpt_open(path, 1, &c);
    if (status == SY_OK)
        status = sy_ckpt_verify(c, NULL);
    sy_ckpt_close(c);
    return status;
}

static inline void keep_text(void *user, const char *text, size_t n) { fwrite(text, 1, n, user); }

/* What `inspect` prints is in *out, the caller's. */
static inline sy_status inspect(const char *path, char **out) {
    size_t n = 0;
    FILE *f = open_memstream(out, &n);
    assert_non_null(f);
    sy_status status = sy_ckpt_inspect(path, keep_text, f);
    assert_int_equal(fclose(f), 0);
    return status;
}

static inline void inspect_says(const char *path, sy_status status, const char *what) {
    char *out = NULL;
    sy_status is = inspect(path, &out);
    if (is != status || !strstr(out, what))
        fail_msg("inspect %s: status %d and no \"%s\" in: %s", path, is, what, out);
    free(out);
}

/* ---- corruption ---- */

/* What a reader of the run makes of it now: 0 the step that is found, -status if none. */
static inline int64_t latest(const char *run) {
    struct sy_ckpt *c = NULL;
    lines[0] = 0;
    sy_status status = sy_ckpt_find_latest(run_of(run), &log_lines, NULL, &c);
    if (status != SY_OK)
        return -(int64_t)status;
    int64_t step = c ? sy_ckpt_info(c)->step : 0;
    sy_ckpt_close(c);
    return step;
}

/* The files of two folders are the same, byte for byte. How many there are. */
static inline int same_files(const char *a, const char *b) {
    char of_a[64][256], of_b[64][256], file[SY_CKPT_PATH_BYTES];
    int n = list_files(a, of_a);
    assert_int_equal(list_files(b, of_b), n);
    for (int i = 0; i < n; i++) {
        size_t na = 0, nb = 0;
        assert_int_equal(sy_ckpt_join(file, a, of_a[i]), SY_OK);
        char *ta = slurp(file, &na);
        assert_int_equal(sy_ckpt_join(file, b, of_a[i]), SY_OK);
        char *tb = slurp(file, &nb);
        assert_true(ta && tb && na == nb);
        assert_memory_equal(ta, tb, na);
        free(ta);
        free(tb);
    }
    return n;
}

/* Both ways in: choosing the newest, and loading this very folder. `file` must be named by both. */
static inline void must_be_detected(const struct model *x, const char *path, const char *file,
                                    const char *how) {
    const char *base = strrchr(file, '/') ? strrchr(file, '/') + 1 : file;
    if (latest("broken") != 1)
        fail_msg("%s of %s: not skipped", how, file);
    if (!strstr(lines, base) || !strstr(lines, "step 2 skipped"))
        fail_msg("%s of %s: not named: %s", how, file, lines);
    struct sy_ckpt *c = NULL;
    struct sy_ckpt_store store = store_of(x);
    struct sy_ckpt_target target = {x->params, &store, 1};
    sy_status status = sy_ckpt_open(path, 1, &c);
    if (status == SY_OK)
        status = sy_ckpt_load(c, &target, NULL, NULL);
    if (status == SY_OK)
        status = sy_ckpt_verify(c, NULL); /* what is not read by load: the index, the tokenizer */
    sy_ckpt_close(c);
    if (status != SY_ERR_DATA || !strstr(sy_error_message(), base))
        fail_msg("%s of %s: status %d, %s", how, file, status, sy_error_message());
}

/* Every file of run "broken"'s checkpoint of step 2, at `path`, in turn. Leaves it as it was. */
static inline void corrupt_every_file(const struct model *y, const char *path) {
    char names[64][256], file[SY_CKPT_PATH_BYTES];
    int n_files = list_files(path, names);
    uint64_t random = 1;
    for (int i = 0; i < n_files; i++) {
        size_t n = 0;
        assert_int_equal(sy_ckpt_join(file, path, names[i]), SY_OK);
        char *text = slurp(file, &n);
        assert_non_null(text);
        assert_int_equal(unlink(file), 0);
        must_be_detected(y, path, names[i], "deletion");
        assert_int_equal(mkdir(file, 0777), 0);
        must_be_detected(y, path, names[i], "a folder instead");
        assert_int_equal(rmdir(file), 0);
        for (int k = 0; k < 3; k++) {
            spill(file, text, k == 0 ? 0 : k == 1 ? n / 2 : n - 1);
            must_be_detected(y, path, names[i], "truncation");
        }
        text[n] = ' '; /* slurp left room for one more */
        spill(file, text, n + 1);
        must_be_detected(y, path, names[i], "extension");
        for (int k = 0; k < 12; k++) {
            random = random * 6364136223846793005u + 1442695040888963407u;
            size_t at = k == 0 ? 0 : k == 1 ? n - 1 : k == 2 ? n - 2 : (size_t)(random >> 20) % n;
            text[at] ^= (char)(1 << (random >> 60 & 7));
            spill(file, text, n);
            must_be_detected(y, path, names[i], "bit flip");
            text[at] ^= (char)(1 << (random >> 60 & 7));
        }
        spill(file, text, n);
        free(text);
    }
}

#endif
