/* switchyard convert: a model folder for sharing, in a chosen precision. */
#include <stdlib.h>
#include <string.h>

#include "base/sized.h"
#include "ckpt/export.h"
#include "base/sized.h"
#include "ckpt/hf_config.h"
#include "ckpt/model_folder.h"
#include "train/io.h"

static const struct {
    const char *word;
    enum sy_safetensors_dtype dtype;
} dtypes[] = {{"bf16", SY_SAFETENSORS_BF16},   {"fp16", SY_SAFETENSORS_F16},
              {"fp32", SY_SAFETENSORS_F32},    {"bfloat16", SY_SAFETENSORS_BF16},
              {"float16", SY_SAFETENSORS_F16}, {"float32", SY_SAFETENSORS_F32}};

static sy_status dtype_of(const char *word, enum sy_safetensors_dtype *out) {
    for (size_t i = 0; i < sizeof dtypes / sizeof *dtypes; i++)
        if (strcmp(word, dtypes[i].word) == 0) {
            *out = dtypes[i].dtype;
            return SY_OK;
        }
    SY_FAIL(SY_ERR_USAGE, "--dtype %.40s: must be bf16, fp16 or fp32", word);
}

/* "5GB" is 5·10^9, "5GiB" 5·2^30, as others have it. */
static sy_status bytes_of(const char *text, int64_t *out) {
    static const struct {
        const char *unit;
        double bytes;
    } units[] = {{"", 1},      {"B", 1},        {"KB", 1e3},     {"MB", 1e6},     {"GB", 1e9},
                 {"TB", 1e12}, {"KiB", 0x1p10}, {"MiB", 0x1p20}, {"GiB", 0x1p30}, {"TiB", 0x1p40}};
    char *end = NULL;
    double n = strtod(text, &end);
    for (size_t i = 0; i < sizeof units / sizeof *units && end != text; i++)
        if (strcmp(end, units[i].unit) == 0 && n * units[i].bytes >= 1 && n * units[i].bytes < 0x1p62) {
            *out = (int64_t)(n * units[i].bytes);
            return SY_OK;
        }
    SY_FAIL(SY_ERR_USAGE,
            "--max-shard %.40s: a number with B, KB, MB, GB, TB or KiB, MiB, GiB, TiB is needed, "
            "as 5GB",
            text);
}

static sy_status convert(const struct sy_ckpt *ckpt, struct sy_config *config, const char *out,
                         const struct sy_export_options *o, const struct sy_io *io) {
    struct sy_params *params = NULL;
    struct sy_exported done;
    SY_TRY(sy_ckpt_config(ckpt, 1, config));
    SY_TRY(sy_config_finish(config, false));
    SY_TRY(sy_params_create(&config->model, &config->moe, &params));
    sy_status status = sy_ckpt_export(ckpt, config, params, out, o, &done);
    sy_params_destroy(params);
    SY_TRY(status);
    const char *class = sy_hf_class_name(config);
    if (!class)
        sy_log_warn(o->log, "no class of Hugging Face's has %s: switchyard alone reads this folder",
                    sy_hf_class_lack(config));
    sy_io_printf(io, "%s: %s, %s, %lld bytes in %d files\ndigest of its weights: %s\n", out,
                 class ? class : "switchyard", sy_safetensors_dtype_name(o->dtype), (long long)done.bytes,
                 done.n_files, done.to);
    return SY_OK;
}

sy_status sy_convert(const char *model, const char *out, const struct sy_convert_options *given,
                     const struct sy_io *io) {
    struct sy_convert_options own;
    SY_TRY(SY_OPTIONS(sy_convert_options, given, &own));
    const struct sy_convert_options *options = &own;
    struct sy_log log = sy_io_log(io);
    struct sy_export_options o = {.log = &log, .stop = io->stop};
    struct sy_ckpt *ckpt = NULL;
    struct sy_config *config = NULL;
    SY_TRY(dtype_of(options->dtype ? options->dtype : "bf16", &o.dtype));
    SY_TRY(bytes_of(options->max_shard ? options->max_shard : "5GB", &o.max_file_bytes));
    SY_TRY(sy_model_folder_open(model, &log, &ckpt));
    sy_status status = sy_config_create(&config);
    if (status == SY_OK)
        status = convert(ckpt, config, out, &o, io);
    sy_config_destroy(config);
    sy_ckpt_close(ckpt);
    return status;
}
