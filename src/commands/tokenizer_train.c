/* A tokenizer from texts, beside a run. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/folders.h"
#include "base/sized.h"
#include "data/documents.h"
#include "tokenizer/train.h"
#include "train/io.h"

/* A file that must not exist. */
static sy_status write_file(const char *folder, const char *name, const struct sy_text *text) {
    char path[4200];
    snprintf(path, sizeof path, "%.4000s/%s", folder, name);
    FILE *f = fopen(path, "wxe");
    if (!f)
        SY_FAIL(SY_ERR_IO, "%s: cannot be made: %s", path, strerror(errno));
    int failed = fwrite(text->s, 1, text->n, f) != text->n;
    failed |= fclose(f) != 0;
    if (failed) {
        unlink(path);
        SY_FAIL(SY_ERR_IO, "%s: cannot be written: %s", path, strerror(errno));
    }
    return SY_OK;
}

static sy_status train(const struct sy_documents *d, struct sy_bpe_trainer *trainer, const char *folder,
                       const struct sy_io *io) {
    struct sy_text json = {0}, config = {0};
    int32_t n = 0;
    for (int64_t i = 0; i < d->n_documents; i++) {
        SY_TRY(sy_bpe_trainer_add(trainer, d->text + d->document[i].offset, (size_t)d->document[i].bytes));
        if (io->stop && *io->stop)
            return SY_STOPPED;
    }
    sy_status status = sy_bpe_trainer_finish(trainer, &json, &config, &n);
    if (status == SY_OK)
        status = sy_folder_make(folder);
    if (status == SY_OK)
        status = write_file(folder, "tokenizer.json", &json);
    if (status == SY_OK)
        status = write_file(folder, "tokenizer_config.json", &config);
    free(json.s);
    free(config.s);
    if (status == SY_OK)
        sy_io_printf(
            io, "%s/tokenizer.json: %" PRId32 " tokens from %" PRId64 " documents with %" PRId64 " bytes\n",
            folder, n, d->n_documents, d->text_bytes);
    return status;
}

sy_status sy_tokenizer_train(const struct sy_tokenizer_train_options *given, const struct sy_io *io) {
    struct sy_tokenizer_train_options own;
    SY_TRY(SY_OPTIONS(sy_tokenizer_train_options, given, &own));
    const struct sy_tokenizer_train_options *o = &own;
    struct sy_log log = sy_io_log(io);
    struct sy_data_options data = {.dataset_paths = o->paths,
                                   .n_dataset_paths = o->n_paths,
                                   .text_key = o->text_key,
                                   .replace = o->replace,
                                   .log = &log};
    struct sy_train_bpe how = {.vocab_size = o->vocab_size < INT32_MAX ? (int32_t)o->vocab_size : INT32_MAX,
                               .min_frequency = o->min_frequency,
                               .pattern = o->pattern,
                               .nfc = o->nfc,
                               .more = o->special,
                               .n_more = o->n_special};
    struct sy_documents *d = NULL;
    struct sy_bpe_trainer *trainer = NULL;
    SY_TRY(sy_bpe_trainer_create(&how, &trainer));
    sy_status status = sy_documents_load(&data, &d);
    if (status == SY_OK)
        status = train(d, trainer, o->out, io);
    sy_documents_destroy(d);
    sy_bpe_trainer_destroy(trainer);
    return status;
}
