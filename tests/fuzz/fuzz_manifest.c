/* The JSON of a checkpoint: the manifest as it is, the manifest with the input as its body under a hash that
 * holds (else no input would get past it), its recipe put into a config, and the input as config.json and as
 * model.safetensors.index.json.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ckpt/hf_config.h"
#include "ckpt/internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(struct sy_ckpt_manifest *m, sy_status status) {
    if (status == SY_OK) {
        struct sy_config *config = NULL;
        for (int i = 0; i < m->files.n; i++) /* no name may lead out of the folder */
            if (m->files.item[i].bytes < 0 || m->files.item[i].name[0] == '/' ||
                m->files.item[i].name[0] == '.' || strstr(m->files.item[i].name, "/."))
                abort();
        for (int kind = 0; kind < SY_CKPT_KINDS;
             kind++) /* each digest is found by its name again, and is one */
            for (int i = 0; i < m->sums[kind].n; i++)
                if (m->info.version < 2 ||
                    sy_ckpt_sums_find(&m->sums[kind], m->sums[kind].item[i].name) != i ||
                    !sy_ckpt_is_hex(m->sums[kind].item[i].hex, SY_DIGEST_CHARS - 1))
                    abort();
        if (sy_config_create(&config) == SY_OK && sy_ckpt_recipe_apply("m", m->info.recipe, config) == SY_OK)
            (void)sy_config_finish(config, false);
        sy_config_destroy(config);
    }
    sy_ckpt_manifest_free(m);
}

static void with_hash(const uint8_t *data, size_t size) {
    struct sy_ckpt_manifest m;
    char hash[SY_CKPT_HASH_CHARS], *text = malloc(size + 128);
    if (!text)
        return;
    if (size)
        memcpy(text, data, size);
    sy_xxh128_hex(XXH3_128bits(text, size), hash);
    int n = snprintf(text + size, 128, "  \"hash\": \"%s\"\n}\n", hash);
    check(&m, sy_ckpt_manifest_parse("m", text, size + (size_t)n, &m));
    free(text);
}

static void as_other_json(const uint8_t *data, size_t size) {
    json_t *root = NULL;
    struct sy_config *config = NULL;
    struct sy_ckpt_files files = {0};
    if (sy_json_parse("c", data, size, 0, &root) != SY_OK)
        return;
    if (sy_config_create(&config) == SY_OK && sy_hf_config_apply("c", root, config) == SY_OK)
        (void)sy_config_finish(config, false);
    sy_config_destroy(config);
    (void)sy_ckpt_index_files("i", root, &files);
    free(files.item);
    json_decref(root);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct sy_ckpt_manifest m;
    check(&m, sy_ckpt_manifest_parse("m", (const char *)data, size, &m));
    with_hash(data, size);
    as_other_json(data, size);
    return 0;
}
