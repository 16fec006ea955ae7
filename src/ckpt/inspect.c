/* `switchyard inspect`: prints what a checkpoint, a Hugging Face folder or a safetensors file holds, and checks all of it.
 *
 * A damaged file of ours names the tensors and byte ranges that changed, by the XXH3-64 of each tensor in its metadata; if
 * all of these hold it is the header. The first fault is the result; printing goes on after it.
 */
#include "ckpt/internal.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/rng.h"

enum { PIECE = 1 << 20 };

struct inspection {
    sy_write_fn write;
    void *user;
    sy_status status; /* of the first fault */
    char message[1024];
    struct sy_digest digest; /* of the F32 tensors of model-* */
    char *piece;
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

/* XXH3-64 of a tensor's bytes; its share of the digest if it is asked for. */
static sy_status hash_tensor(struct inspection *in, const struct sy_safetensors *file, const struct sy_safetensors_tensor *t,
                             int digest, char out[17]) {
    XXH3_state_t *state = XXH3_createState();
    if (!state)
        SY_FAIL(SY_ERR_MEMORY, "out of memory for a hash");
    XXH3_64bits_reset(state);
    sy_status status = SY_OK;
    uint64_t id = sy_fnv1a64(t->name);
    for (int64_t at = 0; at < t->bytes && status == SY_OK; at += PIECE) {
        int64_t n = t->bytes - at < PIECE ? t->bytes - at : PIECE;
        status = sy_safetensors_read(file, t, at, n, in->piece);
        if (status != SY_OK)
            break;
        XXH3_64bits_update(state, in->piece, (size_t)n);
        if (digest && t->dtype == SY_SAFETENSORS_F32)
            sy_digest_add_f32(&in->digest, id, (uint64_t)(at / 4), (const float *)(void *)in->piece, (size_t)(n / 4));
    }
    snprintf(out, 17, "%016" PRIx64, (uint64_t)XXH3_64bits_digest(state));
    XXH3_freeState(state);
    return status;
}

static void print_tensor(struct inspection *in, const struct sy_safetensors_tensor *t) {
    char shape[256];
    sy_safetensors_shape(t, shape, sizeof shape);
    say(in, "  %-8s %-18s %12" PRId64 "  %.1000s", sy_safetensors_dtype_name(t->dtype), shape, t->bytes, t->name);
}

/* Prints the tensors and compares each with its own hash. Returns how many differ or could not be read. */
static int64_t check_tensors(struct inspection *in, const char *path, const struct sy_safetensors *file, int digest) {
    const char *hashes = tensor_hashes(file);
    int64_t bad = 0;
    for (int64_t i = 0; i < sy_safetensors_count(file); i++) {
        const struct sy_safetensors_tensor *t = sy_safetensors_at(file, i);
        char hash[17];
        print_tensor(in, t);
        sy_status status = hash_tensor(in, file, t, digest, hash);
        if (status == SY_OK && hashes && strncmp(hash, hashes + 16 * i, 16) != 0)
            status = sy_fail(SY_ERR_DATA,
                             "%.600s: tensor \"%.600s\", bytes %" PRId64 " … %" PRId64 ": XXH3-64 is %s, was written "
                             "with %.16s",
                             path, t->name, t->offset, t->offset + t->bytes - 1, hash, hashes + 16 * i);
        if (status == SY_OK)
            continue;
        fault(in, status);
        bad++;
    }
    return bad;
}

/* `record` NULL: a file that no manifest lists. */
static void inspect_file(struct inspection *in, const char *folder, const char *name, const struct sy_ckpt_file *record,
                         int digest) {
    char path[SY_CKPT_PATH_BYTES];
    struct sy_safetensors *file = NULL;
    sy_status status = folder ? sy_ckpt_join(path, folder, name) : SY_OK, hashed = SY_OK;
    if (!folder)
        snprintf(path, sizeof path, "%s", name);
    if (status == SY_OK && record)
        hashed = sy_ckpt_check_file(folder, record);
    if (hashed != SY_OK) {
        say(in, "%.1000s", name);
        fault(in, hashed);
    }
    if (status == SY_OK)
        status = sy_safetensors_open(path, &file);
    if (status != SY_OK) {
        if (hashed == SY_OK)
            say(in, "%.1000s", name);
        fault(in, status);
        return;
    }
    if (hashed == SY_OK)
        say(in, "%.1000s  %" PRId64 " bytes, %" PRId64 " tensors%s", name, sy_safetensors_file_bytes(file),
            sy_safetensors_count(file),
            record                ? ", hash ok"
            : tensor_hashes(file) ? ""
                                  : ", no hashes to compare with");
    int64_t bad = check_tensors(in, path, file, digest);
    if (hashed == SY_ERR_DATA && !bad && tensor_hashes(file))
        say(in, "  every tensor's bytes are as written: the damage is in the header, bytes 0 … %" PRId64,
            sy_safetensors_count(file) ? sy_safetensors_at(file, 0)->offset - 1 : sy_safetensors_file_bytes(file) - 1);
    if (hashed == SY_OK && !bad && tensor_hashes(file))
        say(in, "  every tensor's hash ok");
    sy_safetensors_close(file);
}

/* ---- folders ---- */

static int is_safetensors(const char *name) {
    size_t n = strlen(name);
    return n > 12 && strcmp(name + n - 12, ".safetensors") == 0;
}

static void print_info(struct inspection *in, const struct sy_ckpt_info *info) {
    say(in, "step            %" PRId64, info->step);
    say(in, "next sequence   %" PRId64, info->next_sequence);
    say(in, "seed            %" PRIu64, info->seed);
    say(in, "recipe          %s", info->recipe_id);
    for (int i = 0; i < info->n_former_recipes; i++)
        say(in, "  before it     %s", info->former_recipes[i]);
    say(in, "weights digest  %s", info->weights_digest);
}

static void inspect_ours(struct inspection *in, const struct sy_ckpt *c) {
    char hex[SY_DIGEST_CHARS];
    const struct sy_ckpt_info *info = sy_ckpt_info(c);
    print_info(in, info);
    say(in, "%s  hash ok", SY_CKPT_MANIFEST);
    for (int i = 0; i < c->manifest.files.n; i++) {
        const struct sy_ckpt_file *f = &c->manifest.files.item[i];
        if (is_safetensors(f->name)) {
            inspect_file(in, c->path, f->name, f, strncmp(f->name, "model-", 6) == 0);
            continue;
        }
        sy_status status = sy_ckpt_check_file(c->path, f);
        say(in, "%s  %" PRId64 " bytes%s", f->name, f->bytes, status == SY_OK ? ", hash ok" : "");
        if (status != SY_OK)
            fault(in, status);
    }
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
    sy_status status = sy_ckpt_shard_list(c, "model", &list);
    if (status != SY_OK)
        fault(in, status);
    for (int i = 0; i < list.n; i++)
        inspect_file(in, c->path, list.item[i].name, NULL, 0);
    free(list.item);
}

/* A folder that does not open: the manifest alone, so that each file can be named. */
static void inspect_broken(struct inspection *in, const char *path) {
    struct sy_ckpt *c = calloc(1, sizeof *c);
    char manifest[SY_CKPT_PATH_BYTES], *text = NULL;
    size_t bytes = 0;
    if (c && sy_ckpt_join(manifest, path, SY_CKPT_MANIFEST) == SY_OK &&
        sy_ckpt_read_file(manifest, SY_CKPT_MAX_JSON, &text, &bytes) == SY_OK &&
        sy_ckpt_manifest_parse(manifest, text, bytes, &c->manifest) == SY_OK) {
        snprintf(c->path, sizeof c->path, "%s", path);
        inspect_ours(in, c);
    }
    free(text);
    sy_ckpt_close(c);
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
    in.piece = malloc(PIECE);
    if (!in.piece)
        SY_FAIL(SY_ERR_MEMORY, "%s: out of memory", path);
    if (S_ISDIR(st.st_mode))
        inspect_folder(&in, path);
    else
        inspect_file(&in, NULL, path, NULL, 0);
    free(in.piece);
    if (in.status != SY_OK)
        SY_FAIL(in.status, "%s", in.message);
    say(&in, "ok");
    return SY_OK;
}
