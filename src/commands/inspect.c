/* switchyard inspect: what a run, a checkpoint, a Hugging Face folder or a safetensors file holds,
 * whether its bytes are those that were written, and whether generate and train would take it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "ckpt/hf_config.h"
#include "ckpt/model_folder.h"
#include "train/feed.h"
#include "formats/safetensors.h"
#include "train/io.h"

/* --- what generate and train would say -------------------------------------------------------- */

static sy_status drop(void *self, const struct sy_ckpt_range *range, const float *x) {
    (void)self;
    (void)range;
    (void)x;
    return SY_OK;
}

/* All that loading checks: names, shapes, dtypes; with a manifest the moments, too. */
static sy_status load(const struct sy_ckpt *ckpt, const struct sy_params *params, const struct sy_log *log) {
    struct sy_ckpt_store nowhere = {.put = drop};
    struct sy_ckpt_target target = {
        .params = params, .store = &nowhere, .moments = sy_ckpt_info(ckpt)->has_manifest};
    return sy_ckpt_load(ckpt, &target, log, NULL);
}

static void print_model(const struct sy_io *io, const struct sy_config *c, const struct sy_params *p) {
    const char *class = sy_hf_class_name(c);
    sy_io_printf(io,
                 "model           %s, dim %lld, %lld layers, %lld of them with %lld experts, %lld of these "
                 "for a token\n",
                 sy_config_word(c, "model.attention"), (long long)c->model.dim, (long long)c->model.n_layers,
                 (long long)(c->model.n_layers - c->model.n_dense_layers), (long long)c->moe.num_experts,
                 (long long)c->moe.top_k);
    sy_io_printf(io, "parameters      %lld, %lld active for a token\n", (long long)p->n_parameters,
                 (long long)p->n_active);
    if (class)
        sy_io_printf(io, "Hugging Face class: %s\n", class);
    else
        sy_io_printf(io, "Hugging Face class: none has %s; read by switchyard alone\n", sy_hf_class_lack(c));
}

static sy_status print_generate(const struct sy_io *io, const struct sy_config *config) {
    struct sy_tokenizer_options o = sy_session_tokenizer_options(config);
    struct sy_tokenizer *t = NULL;
    SY_TRY(sy_tokenizer_create(&o, &t));
    sy_io_printf(io, "generate        can, in class %s, with ", sy_config_word(config, "numerics.class"));
    if (sy_tokenizer_is_byte(t))
        sy_io_printf(io, "bytes as tokens\n");
    else
        sy_io_printf(io, "its tokenizer.json of %d ids\n", (int)sy_tokenizer_n_ids(t));
    sy_tokenizer_destroy(t);
    return SY_OK;
}

static sy_status ask(const struct sy_ckpt *ckpt, struct sy_config *config, const struct sy_io *io) {
    struct sy_log log = sy_io_log(io);
    struct sy_params *params = NULL;
    const struct sy_ckpt_info *info = sy_ckpt_info(ckpt);
    SY_TRY(sy_model_folder_config(ckpt, config));
    SY_TRY(sy_config_set(config, SY_LAYER_RULE, "inspect", "training.dataset_path", "none"));
    SY_TRY(sy_config_finish(config, false));
    SY_TRY(sy_params_create(&config->model, &config->moe, &params));
    print_model(io, config, params);
    sy_status status = load(ckpt, params, &log);
    sy_params_destroy(params);
    if (status == SY_ERR_MEMORY) { /* of this machine, which says nothing of the model */
        sy_io_printf(io, "weights         not tried: %s\n", sy_error_message());
        return SY_OK;
    }
    SY_TRY(status);
    if (info->has_manifest)
        sy_io_printf(io, "train           can go on from step %lld\n", (long long)info->step);
    else
        sy_io_printf(io, "train           can begin with its weights (checkpoint.initial_load_path)\n");
    SY_TRY(sy_model_folder_tokenizer(ckpt, config));
    return print_generate(io, config);
}

/* --- what is there ---------------------------------------------------------------------------- */

static sy_status inspect_model(const char *path, const struct sy_io *io) {
    struct sy_ckpt *ckpt = NULL;
    struct sy_config *config = NULL;
    SY_TRY(sy_ckpt_inspect(path, io->write, io->user));
    sy_status status = sy_ckpt_open(path, 0, &ckpt);
    if (status == SY_OK)
        status = sy_config_create(&config);
    if (status == SY_OK)
        status = ask(ckpt, config, io);
    sy_config_destroy(config);
    sy_ckpt_close(ckpt);
    return status;
}

/* Length of a header that can be, then '{'; or a name that promises it: what is wrong then is damage. */
static int is_safetensors(const char *path, FILE *f) {
    unsigned char head[9];
    uint64_t length = 0;
    const char *dot = strrchr(path, '.');
    if (dot && strcmp(dot, ".safetensors") == 0)
        return 1;
    if (fread(head, 1, sizeof head, f) != sizeof head)
        return 0;
    memcpy(&length, head, sizeof length);
    return length <= SY_SAFETENSORS_MAX_HEADER && head[8] == '{';
}

static sy_status inspect_file(const char *path, const struct sy_io *io) {
    FILE *f = fopen(path, "re");
    int known = f && is_safetensors(path, f);
    if (f)
        fclose(f);
    if (f && !known)
        SY_FAIL(SY_ERR_USAGE,
                "%s: is no safetensors file; a run, a checkpoint, a model folder or such a file is needed",
                path);
    return sy_ckpt_inspect(path, io->write, io->user);
}

sy_status sy_inspect(const char *path, const struct sy_io *io) {
    struct sy_log log = sy_io_log(io);
    struct sy_ckpt *ckpt = NULL;
    struct stat st;
    if (stat(path, &st) == 0 && S_ISREG(st.st_mode))
        return inspect_file(path, io);
    SY_TRY(sy_model_folder_check(path));
    if (!sy_ckpt_any(path))
        return inspect_model(path, io);
    SY_TRY(sy_ckpt_find_latest(path, &log, NULL, &ckpt));
    sy_status status = inspect_model(sy_ckpt_info(ckpt)->path, io);
    sy_ckpt_close(ckpt);
    return status;
}
