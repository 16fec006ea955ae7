/* `switchyard inspect`: prints what a checkpoint, a Hugging Face folder or a safetensors file holds, and
 * checks all of it.
 *
 * A damaged file of ours names the tensors and byte ranges that changed, by the digest of each tensor in the
 * manifest, or of version 1 by its XXH3-64 in the file's metadata; if all of these hold it is the header. A
 * file alone is checked by the manifest beside it. The first fault is the result; printing goes on after it.
 */
#include "ckpt/internal.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/rng.h"

enum { PIECE = 1 << 18 }; /* elements */

struct inspection {
    sy_write_fn write;
    void *user;
    sy_status status; /* of the first fault */
    char message[1024];
    struct sy_digest digest;       /* of the F32 tensors of model-* */
    int n_compared[SY_CKPT_KINDS]; /* tensors with a digest in the manifest */
    float *piece;
};

/* One file and what is known of it; all but the path may be NULL. */
struct subject {
    char path[SY_CKPT_PATH_BYTES];
    const char *shown; /* its name */
    const struct sy_ckpt_file *record;
    const struct sy_ckpt_sums *sums; /* of its kind */
    enum sy_ckpt_kind kind;
    struct sy_safetensors *file;
    const char *hashes; /* version 1: XXH3-64 of each tensor, by its place */
    int header_damaged;
};

static void say(struct inspection *in, const char *fmt, ...) SY_PRINTF(2, 3);
static void say(struct inspection *in, const char *fmt, ...) {
    char line[2048];
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(line, sizeof line, fmt, args);
    va_end(args);
    n = n < (int)sizeof line ? n : (int)sizeof line - 1;
    for (int i = 0; i < n; i++)
        if ((unsigned char)line[i] < 0x20 || line[i] == 0x7f)
            line[i] = '?';
    in->write(in->user, line, (size_t)n);
    in->write(in->user, "\n", 1);
}

/* Prints the calling thread's message and remembers the first. */
static void fault(struct inspection *in, sy_status status) {
    say(in, "  DAMAGED: %s", sy_error_message());
    if (in->status == SY_OK) {
        in->status = status;
        snprintf(in->message, sizeof in->message, "%s", sy_error_message());
    }
}

/* ---- a safetensors file ---- */

static const char *tensor_hashes(const struct sy_safetensors *file) {
    for (int64_t i = 0; i < sy_safetensors_metadata_count(file); i++) {
        struct sy_safetensors_pair pair = sy_safetensors_metadata_at(file, i);
        if (strcmp(pair.key, SY_CKPT_TENSOR_HASHES) == 0)
            return strlen(pair.value) == 16 * (size_t)sy_safetensors_count(file) ? pair.value : NULL;
    }
    return NULL;
}

/* Compares an F32 tensor with its digest; a name of a damaged header may be wrong and have none. */
static sy_status check_words(struct inspection *in, const struct subject *s,
                             const struct sy_safetensors_tensor *t, const struct sy_digest *words) {
    int k = sy_ckpt_sums_find(s->sums, t->name);
    if (k < 0 && s->header_damaged)
        return SY_OK;
    if (k < 0 || t->dtype != SY_SAFETENSORS_F32)
        SY_FAIL(SY_ERR_DATA, "%.600s: tensor \"%.600s\" %s", s->path, t->name,
                k < 0 ? "has no digest in " SY_CKPT_MANIFEST : "is not F32");
    in->n_compared[s->kind]++;
    return sy_ckpt_sum_check(&s->sums->item[k], words, s->path, t->offset, t->bytes);
}

static sy_status check_xxh3(const struct subject *s, const struct sy_safetensors_tensor *t, const char *was,
                            uint64_t hash) {
    char is[17];
    snprintf(is, sizeof is, "%016" PRIx64, hash);
    if (strncmp(is, was, 16) != 0)
        SY_FAIL(SY_ERR_DATA,
                "%.600s: tensor \"%.600s\", bytes %" PRId64 " … %" PRId64
                ": XXH3-64 is %s, was written with %.16s",
                s->path, t->name, t->offset, t->offset + t->bytes - 1, is, was);
    return SY_OK;
}

/* Reads tensor i once, for whatever it can be compared with and for the weights' digest. */
static sy_status check_tensor(struct inspection *in, const struct subject *s, int64_t i,
                              XXH3_state_t *state) {
    const struct sy_safetensors_tensor *t = sy_safetensors_at(s->file, i);
    struct sy_digest words = {{0, 0}};
    uint64_t id = sy_fnv1a64(t->name);
    int is_f32 = t->dtype == SY_SAFETENSORS_F32;
    XXH3_64bits_reset(state);
    for (int64_t at = 0; at < t->bytes; at += 4 * PIECE) {
        int64_t n = t->bytes - at < 4 * PIECE ? t->bytes - at : 4 * PIECE;
        SY_TRY(sy_safetensors_read(s->file, t, at, n, in->piece));
        if (s->hashes)
            XXH3_64bits_update(state, in->piece, (size_t)n);
        if (s->record && is_f32)
            sy_ckpt_digest_add(id, at / 4, in->piece, n / 4, &words,
                               s->kind == SY_CKPT_WEIGHTS ? &in->digest : NULL);
    }
    if (s->hashes)
        SY_TRY(check_xxh3(s, t, s->hashes + 16 * i, XXH3_64bits_digest(state)));
    return s->sums ? check_words(in, s, t, &words) : SY_OK;
}

static void print_tensor(struct inspection *in, const struct sy_safetensors_tensor *t) {
    char shape[256];
    sy_safetensors_shape(t, shape, sizeof shape);
    say(in, "  %-8s %-18s %12" PRId64 "  %.1000s", sy_safetensors_dtype_name(t->dtype), shape, t->bytes,
        t->name);
}

/* Prints the tensors and compares each. Returns how many differ or could not be read. */
static int64_t check_tensors(struct inspection *in, const struct subject *s) {
    XXH3_state_t *state = XXH3_createState();
    int64_t bad = 0;
    for (int64_t i = 0; i < sy_safetensors_count(s->file); i++) {
        print_tensor(in, sy_safetensors_at(s->file, i));
        sy_status status =
            state ? check_tensor(in, s, i, state) : sy_fail(SY_ERR_MEMORY, "out of memory for a hash");
        if (status == SY_OK)
            continue;
        fault(in, status);
        bad++;
    }
    XXH3_freeState(state);
    return bad;
}

static void inspect_tensors(struct inspection *in, struct subject *s, int damaged) {
    int64_t n = sy_safetensors_count(s->file), end = sy_safetensors_file_bytes(s->file);
    s->hashes = tensor_hashes(s->file);
    if (!damaged)
        say(in, "%.1000s  %" PRId64 " bytes, %" PRId64 " tensors%s", s->shown, end, n,
            s->record   ? s->sums ? ", header's hash ok" : ", hash ok"
            : s->hashes ? ""
                        : ", no hashes to compare with");
    int64_t bad = check_tensors(in, s);
    if (damaged && !bad && (s->hashes || s->sums))
        say(in, "  %s as written: the damage is in the header, bytes 0 … %" PRId64,
            s->sums ? "every tensor that it names rightly is" : "every tensor's bytes are",
            (n ? sy_safetensors_at(s->file, 0)->offset : end) - 1);
    if (!damaged && !bad && (s->hashes || s->sums))
        say(in, "  every tensor's %s ok", s->sums ? "digest" : "hash");
}

/* A safetensors file that `manifest` lists as `name`. Without a manifest (NULL) `folder` may be NULL. */
static void inspect_file(struct inspection *in, const char *folder, const char *name,
                         const struct sy_ckpt_manifest *manifest) {
    struct subject s = {.shown = name, .kind = SY_CKPT_KINDS};
    sy_status status = folder ? sy_ckpt_join(s.path, folder, name) : SY_OK, hashed = SY_OK;
    if (!folder)
        snprintf(s.path, sizeof s.path, "%s", name);
    if (manifest) {
        s.record = sy_ckpt_files_find(&manifest->files, name);
        s.kind = sy_ckpt_kind_of(name);
        s.sums = manifest->info.version > 1 && s.kind < SY_CKPT_KINDS ? &manifest->sums[s.kind] : NULL;
    }
    if (status == SY_OK && s.record)
        hashed = sy_ckpt_check_file(folder, s.record);
    s.header_damaged = hashed == SY_ERR_DATA;
    if (hashed != SY_OK) {
        say(in, "%.1000s", name);
        fault(in, hashed);
    }
    if (status == SY_OK)
        status = sy_safetensors_open(s.path, &s.file);
    if (status != SY_OK) {
        if (hashed == SY_OK)
            say(in, "%.1000s", name);
        fault(in, status);
        return;
    }
    inspect_tensors(in, &s, hashed != SY_OK);
    sy_safetensors_close(s.file);
}

/* ---- folders ---- */

static int is_safetensors(const char *name) {
    size_t n = strlen(name);
    return n > 12 && strcmp(name + n - 12, ".safetensors") == 0;
}

static void print_info(struct inspection *in, const struct sy_ckpt_info *info) {
    say(in, "format version  %d", info->version);
    say(in, "step            %" PRId64, info->step);
    say(in, "next sequence   %" PRId64, info->next_sequence);
    say(in, "seed            %" PRIu64, info->seed);
    say(in, "recipe          %s", info->recipe_id);
    for (int i = 0; i < info->n_former_recipes; i++)
        say(in, "  before it     %s", info->former_recipes[i]);
    say(in, "weights digest  %s", info->weights_digest);
}

/* Each tensor that has a digest was there. */
static void check_complete(struct inspection *in, const struct sy_ckpt *c) {
    for (int kind = 0; kind < SY_CKPT_KINDS; kind++)
        if (in->status == SY_OK && in->n_compared[kind] != c->manifest.sums[kind].n)
            fault(in, sy_fail(SY_ERR_DATA, "%s: digests of %d tensors of %s, but the files have %d", c->path,
                              c->manifest.sums[kind].n, sy_ckpt_kind_word((enum sy_ckpt_kind)kind),
                              in->n_compared[kind]));
}

static void inspect_ours(struct inspection *in, const struct sy_ckpt *c) {
    char hex[SY_DIGEST_CHARS];
    const struct sy_ckpt_info *info = sy_ckpt_info(c);
    print_info(in, info);
    say(in, "%s  hash ok", SY_CKPT_MANIFEST);
    for (int i = 0; i < c->manifest.files.n; i++) {
        const struct sy_ckpt_file *f = &c->manifest.files.item[i];
        if (is_safetensors(f->name)) {
            inspect_file(in, c->path, f->name, &c->manifest);
            continue;
        }
        sy_status status = sy_ckpt_check_file(c->path, f);
        say(in, "%s  %" PRId64 " bytes%s", f->name, f->bytes, status == SY_OK ? ", hash ok" : "");
        if (status != SY_OK)
            fault(in, status);
    }
    check_complete(in, c);
    sy_digest_hex(&in->digest, hex);
    if (strcmp(hex, info->weights_digest) == 0)
        say(in, "weights digest recomputed: ok");
    else
        fault(in, sy_fail(SY_ERR_DATA, "%s: the weights' digest is %s, was written with %s", c->path, hex,
                          info->weights_digest));
}

static void inspect_hugging_face(struct inspection *in, const struct sy_ckpt *c) {
    struct sy_ckpt_files list = {0};
    say(in, "no %s: a Hugging Face folder, weights alone", SY_CKPT_MANIFEST);
    sy_status status = sy_ckpt_shard_list(c, SY_CKPT_WEIGHTS, &list);
    if (status != SY_OK)
        fault(in, status);
    for (int i = 0; i < list.n; i++)
        inspect_file(in, c->path, list.item[i].name, NULL);
    free(list.item);
}

/* The manifest of a folder by itself, whatever its files are. */
static sy_status read_manifest(const char *folder, struct sy_ckpt *c) {
    char *text = NULL;
    size_t bytes = 0;
    SY_TRY(sy_ckpt_join(c->path, folder, SY_CKPT_MANIFEST));
    SY_TRY(sy_ckpt_read_file(c->path, SY_CKPT_MAX_JSON, &text, &bytes));
    sy_status status = sy_ckpt_manifest_parse(c->path, text, bytes, &c->manifest);
    free(text);
    snprintf(c->path, sizeof c->path, "%s", folder);
    return status;
}

/* A folder that does not open: the manifest alone, so that each file can be named. */
static void inspect_broken(struct inspection *in, const char *path) {
    struct sy_ckpt *c = calloc(1, sizeof *c);
    if (c && read_manifest(path, c) == SY_OK)
        inspect_ours(in, c);
    sy_ckpt_close(c);
}

/* Cuts a file's path at the checkpoint's folder that it would be in; returns its name there. */
static const char *split(char *path) {
    char *name = strrchr(path, '/');
    if (name && name - path >= 10 && strncmp(name - 10, "/optimizer", 10) == 0)
        name -= 10;
    if (!name)
        return NULL;
    *name = 0;
    return name + 1;
}

/* One file. The manifest beside it, or above optimizer/, says what it should be. */
static void inspect_alone(struct inspection *in, const char *path) {
    char manifest[SY_CKPT_PATH_BYTES], *folder = realpath(path, NULL);
    const char *name = folder ? split(folder) : NULL;
    struct sy_ckpt *c = calloc(1, sizeof *c);
    int ours = 0;
    if (c && name && sy_ckpt_join(manifest, folder, SY_CKPT_MANIFEST) == SY_OK &&
        access(manifest, F_OK) == 0) {
        sy_status status = read_manifest(folder, c);
        ours = status == SY_OK && sy_ckpt_files_find(&c->manifest.files, name) != NULL;
        if (status != SY_OK)
            fault(in, status);
        else if (!ours)
            say(in, "not one of the files of %.1000s", manifest);
    }
    if (ours)
        inspect_file(in, folder, name, &c->manifest);
    else
        inspect_file(in, NULL, path, NULL);
    sy_ckpt_close(c);
    free(folder);
}

static void inspect_folder(struct inspection *in, const char *path) {
    struct sy_ckpt *c = NULL;
    sy_status status = sy_ckpt_open(path, 0, &c);
    if (status != SY_OK) {
        fault(in, status);
        inspect_broken(in, path);
    } else if (sy_ckpt_info(c)->has_manifest) {
        inspect_ours(in, c);
    } else {
        inspect_hugging_face(in, c);
    }
    sy_ckpt_close(c);
}

sy_status sy_ckpt_inspect(const char *path, sy_write_fn write, void *user) {
    struct inspection in = {.write = write, .user = user, .status = SY_OK};
    struct stat st;
    if (strlen(path) >= SY_CKPT_PATH_BYTES || stat(path, &st) != 0)
        SY_FAIL(SY_ERR_IO, "%s: there is no such file or folder", path);
    in.piece = malloc(4 * PIECE);
    if (!in.piece)
        SY_FAIL(SY_ERR_MEMORY, "%s: out of memory", path);
    if (S_ISDIR(st.st_mode))
        inspect_folder(&in, path);
    else
        inspect_alone(&in, path);
    free(in.piece);
    if (in.status != SY_OK)
        SY_FAIL(in.status, "%s", in.message);
    say(&in, "ok");
    return SY_OK;
}
