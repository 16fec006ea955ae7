/* Any bytes as a file of routes, for two models: refused, or each token's experts ascend, are in range and
 * distinct, weights are finite, both are those of the tensors of the file in pairs, and loading once more
 * gives the same.
 */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "formats/safetensors.h"
#include "placed.h"
#include "routes/routes.h"
#include "require.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { STEP = 7 };
static const int two_layers[] = {1, 10}, one_layer[] = {0};
static const struct sy_routes_options models[] = {
    {.sequences = 2, .seq_len = 3, .top_k = 2, .experts = 5, .layers = two_layers, .n_layers = 2},
    {.sequences = 1, .seq_len = 1, .top_k = 3, .experts = 4, .layers = one_layer, .n_layers = 1}};
enum { MODELS = sizeof models / sizeof *models };

static int64_t raw_id(const struct sy_safetensors_tensor *t, int64_t at) {
    int32_t narrow;
    int64_t id;
    memcpy(&narrow, (const char *)t->data + at * (t->dtype == SY_SAFETENSORS_I64 ? 0 : 4), sizeof narrow);
    if (t->dtype != SY_SAFETENSORS_I64)
        return narrow;
    memcpy(&id, (const char *)t->data + at * 8, sizeof id);
    return id;
}

/* Every pair of the file's token is among the token's that was loaded; K distinct ones on each side: they
 * are the same. */
static void check_token(int64_t k, int64_t experts, const int32_t *ids, const float *w, int64_t at,
                        const struct sy_safetensors_tensor *file_ids,
                        const struct sy_safetensors_tensor *file_w) {
    for (int64_t i = 0; i < k; i++) {
        require(ids[i] >= 0 && ids[i] < experts && (i == 0 || ids[i - 1] < ids[i]));
        require(!w || isfinite(w[i]));
    }
    for (int64_t i = 0; i < k; i++) {
        int64_t j = 0;
        while (j < k && ids[j] != raw_id(file_ids, at + i))
            j++;
        require(j < k && (!w || memcmp(&w[j], (const char *)file_w->data + (at + i) * 4, 4) == 0));
    }
}

static void check_layer(const struct sy_routes_files *f, const struct sy_routes_options *o, int layer,
                        const struct sy_safetensors *file) {
    char name[64];
    snprintf(name, sizeof name, "layers.%d.ids", layer);
    const struct sy_safetensors_tensor *ids = sy_safetensors_find(file, name);
    snprintf(name, sizeof name, "layers.%d.weights", layer);
    const struct sy_safetensors_tensor *w = sy_safetensors_find(file, name);
    int64_t tokens = o->sequences * o->seq_len, k = o->top_k;
    require(ids && ids->n_elements == tokens * k && (!w || w->n_elements == tokens * k));
    for (int64_t t = 0; t < tokens; t++) {
        struct sy_routes r = sy_routes_at(f, layer, t / o->seq_len);
        int64_t at = t % o->seq_len * k;
        require(r.ids && !r.w == !w);
        check_token(k, o->experts, r.ids + at, w ? r.w + at : NULL, t * k, ids, w);
    }
}

static void check(const struct sy_routes_files *f, const struct sy_routes_options *o, const uint8_t *data,
                  size_t size) {
    struct sy_safetensors *file = NULL;
    require(sy_safetensors_parse("fuzz", data, size, &file) == SY_OK);
    for (int i = 0; i < o->n_layers; i++)
        check_layer(f, o, o->layers[i], file);
    sy_safetensors_close(file);
}

/* FNV-1a of what was loaded. */
static uint64_t hash(const struct sy_routes_files *f, const struct sy_routes_options *o) {
    uint64_t h = 0xcbf29ce484222325u;
    for (int i = 0; i < o->n_layers; i++) {
        struct sy_routes r = sy_routes_at(f, o->layers[i], 0);
        for (int64_t n = 0; n < o->sequences * o->seq_len * o->top_k; n++) {
            uint32_t w = 1;
            if (r.w)
                memcpy(&w, &r.w[n], sizeof w);
            h = ((h ^ (uint32_t)r.ids[n]) * 0x100000001b3u ^ w) * 0x100000001b3u;
        }
    }
    return h;
}

static void model(struct sy_routes_options o, const char *dir, const uint8_t *data, size_t size) {
    struct sy_routes_files *f = NULL;
    o.dir = dir;
    sy_status opened = sy_routes_open(&o, &f);
    require(opened == SY_OK && f);
    int skipped = 0;
    sy_status status = sy_routes_load(f, STEP, &skipped);
    require(status == SY_OK || status == SY_ERR_DATA || status == SY_ERR_MEMORY);
    if (status == SY_OK && !skipped) {
        check(f, &o, data, size);
        uint64_t h = hash(f, &o);
        require(sy_routes_load(f, STEP, &skipped) == SY_OK && hash(f, &o) == h);
    } else if (status != SY_OK) {
        require(sy_error_message()[0] && sy_routes_load(f, STEP, &skipped) == status);
    }
    sy_routes_close(f);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static int fd = -1;
    if (fd < 0)
        fd = placed_file("step-00000007.safetensors", NULL);
    placed_fill(fd, data, size);
    for (int i = 0; i < MODELS; i++)
        model(models[i], placed_room, data, size);
    return 0;
}
