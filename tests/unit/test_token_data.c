/* A data set is the same whether it is text, or a file of tokens made of that text: documents, what is held
 * out, every sequence. Files of other programs give the documents that their ids say.
 */
#include "data_set.h"
#include "token_files.h"

enum { SEQUENCES = 200 };

static struct sy_tokenizer *byte;

static struct sy_data_options options_of(const char *const *path) {
    return (struct sy_data_options){.dataset_paths = path,
                                    .n_dataset_paths = 1,
                                    .holdout = 0.05,
                                    .shuffle = 1,
                                    .seed = 7,
                                    .tokenizer = byte};
}

static void same_sequences(const struct data *a, const struct data *b) { same_training(a, b, SEQUENCES, 51); }

static void same_held_out(const struct data *a, const struct data *b) {
    assert_true(sy_loader_eval_count(a->loader) > 0);
    assert_int_equal(sy_loader_eval_labels(a->loader), sy_loader_eval_labels(b->loader));
    same_evaluation(a, b);
    assert_true(sy_corpus_entropy(a->corpus, NULL) == sy_corpus_entropy(b->corpus, NULL));
}

static const char *const prose = "tests/data/prose.jsonl";

/* Text, and what tokenize --out writes of it. */
static void ours_is_the_text(void **state) {
    (void)state;
    const char *const path = in_room("prose.tokens");
    const struct sy_tokenize_options how = {.tokenizer = "byte", .paths = &prose, .n_paths = 1, .out = path};
    struct sy_data_options a = options_of(&prose), b = options_of(&path);
    assert_int_equal(sy_tokenize(&how, &(struct sy_io){.write = NULL}), SY_OK);
    for (int64_t most = 0; most < 100000; most += 60000) {
        a.max_bytes = b.max_bytes = most;
        struct data text = open_data(&a), tokens = open_data(&b);
        assert_int_equal(text.documents->n_documents, tokens.documents->n_documents);
        assert_int_equal(text.documents->train_bytes, tokens.documents->train_bytes);
        same_sequences(&text, &tokens);
        same_held_out(&text, &tokens);
        close_data(&text);
        close_data(&tokens);
    }
    unlink(path);
}

/* Ids of the data set's texts, as the others would write them: EOS behind each document. */
static int32_t *spell(const struct sy_documents *d, int64_t *n) {
    int32_t *id = malloc((size_t)(d->text_bytes + d->n_documents) * sizeof *id);
    assert_non_null(id);
    *n = 0;
    for (int64_t i = 0; i < d->n_documents; i++) {
        for (int64_t j = 0; j < d->document[i].bytes; j++)
            id[(*n)++] = (unsigned char)d->text[d->document[i].offset + j];
        id[(*n)++] = SY_TOKEN_EOS;
    }
    return id;
}

static void put_megatron(const struct sy_documents *d, const int32_t *id, int64_t n) {
    int64_t *length = malloc((size_t)d->n_documents * sizeof *length);
    int64_t *first = malloc((size_t)(d->n_documents + 1) * sizeof *first);
    assert_true(length && first);
    for (int64_t i = 0; i <= d->n_documents; i++)
        first[i] = i;
    for (int64_t i = 0; i < d->n_documents; i++)
        length[i] = d->document[i].bytes + 1;
    const struct megatron m = {8, 2, id, n, length, d->n_documents, first, d->n_documents};
    struct bytes idx = megatron_index(&m), bin = megatron_ids(&m);
    write_bytes(in_room("folder/m.idx"), idx.at, idx.n);
    write_bytes(in_room("folder/m.bin"), bin.at, bin.n);
    free(idx.at);
    free(bin.at);
    free(length);
    free(first);
}

/* Nothing held out, or in both the same: ids have no text to be hashed. */
static void of_others(void **state) {
    (void)state;
    const char *folder = in_room("folder"), *bin = in_room("a.bin");
    char command[300];
    snprintf(command, sizeof command, "mkdir '%s'", folder);
    assert_int_equal(system(command), 0);
    struct sy_data_options a = options_of(&prose), b = options_of(&bin), c = options_of(&folder);
    a.holdout = b.holdout = c.holdout = 0;
    struct data text = open_data(&a);
    int64_t n;
    int32_t *id = spell(text.documents, &n);
    struct bytes llmc = llmc_file(id, n, 2);
    write_bytes(bin, llmc.at, llmc.n);
    put_megatron(text.documents, id, n);
    struct data from_llmc = open_data(&b), from_megatron = open_data(&c);
    assert_int_equal(from_megatron.documents->n_files, 2); /* the pair once */
    assert_int_equal(from_megatron.documents->n_documents, text.documents->n_documents);
    same_sequences(&text, &from_llmc);
    same_sequences(&text, &from_megatron);
    assert_true(sy_corpus_entropy(text.corpus, NULL) == sy_corpus_entropy(from_llmc.corpus, NULL));
    close_data(&from_llmc);
    close_data(&from_megatron);
    b.holdout = c.holdout = 0.05;
    from_llmc = open_data(&b), from_megatron = open_data(&c);
    same_held_out(&from_llmc, &from_megatron);
    assert_true((double)from_llmc.documents->heldout_bytes <= 0.05 * 4 * (double)n);
    close_data(&from_llmc);
    close_data(&from_megatron);
    close_data(&text);
    free(llmc.at);
    free(id);
}

static void put_one_document(const char *path, int64_t n) {
    int32_t id[64];
    for (int i = 0; i < n; i++)
        id[i] = 65 + i;
    struct bytes b = llmc_file(id, n, 2);
    write_bytes(path, b.at, b.n);
    free(b.at);
}

/* One document alone is cut between two tokens: of 10 the last 0.25, so from the eighth on. */
static void a_tail(void **state) {
    (void)state;
    const char *path = in_room("one.bin");
    put_one_document(path, 10);
    struct sy_data_options o = options_of(&path);
    o.holdout = 0.25;
    struct data d = open_data(&o);
    int32_t got[SEQ];
    assert_int_equal(d.documents->n_documents, 2);
    assert_int_equal(d.documents->train_bytes, 4 * 8);
    assert_int_equal(d.documents->heldout_bytes, 4 * 2);
    assert_int_equal(sy_corpus_length(d.corpus, 1), 4);
    assert_int_equal(sy_corpus_read(d.corpus, 1, 0, 4, got), SY_OK);
    assert_memory_equal(got, ((const int32_t[]){SY_TOKEN_BOS, 73, 74, SY_TOKEN_EOS}), 16);
    assert_int_equal(sy_corpus_read(d.corpus, 0, 7, 3, got), SY_OK);
    assert_memory_equal(got, ((const int32_t[]){71, 72, SY_TOKEN_EOS}), 12);
    close_data(&d);
    put_one_document(path, 1); /* nothing is left to cut */
    o.holdout = 0.25;
    d = open_data(&o);
    assert_int_equal(d.documents->n_heldout, 0);
    close_data(&d);
    unlink(path);
}

static void refuses(const struct sy_data_options *o, sy_status want, const char *message) {
    struct sy_documents *d = NULL;
    sy_status status = sy_documents_load(o, &d);
    if (status != want || !strstr(sy_error_message(), message))
        fail_msg("status %d, \"%s\" lacks \"%s\"", status, sy_error_message(), message);
}

static void formats(void **state) {
    (void)state;
    const char *path = in_room("one.bin");
    put_one_document(path, 3);
    struct sy_data_options o = options_of(&prose);
    o.format = "tokens";
    refuses(&o, SY_ERR_DATA, "prose.jsonl: no file of tokens");
    o = options_of(&path);
    o.format = "text";
    refuses(&o, SY_ERR_DATA,
            "one.bin: a file of tokens (llm.c), not UTF-8 text: data.format = auto or tokens reads it");
    o.format = "tokens";
    o.holdout = 0;
    struct data d = open_data(&o);
    assert_int_equal(d.documents->n_documents, 1);
    close_data(&d);
    o.tokenizer = NULL; /* as where a tokenizer is trained */
    o.format = "auto";
    refuses(&o, SY_ERR_DATA, "one.bin: a file of tokens (llm.c)");
    unlink(path);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(ours_is_the_text), cmocka_unit_test(of_others),
                                       cmocka_unit_test(a_tail), cmocka_unit_test(formats)};
    if (sy_tokenizer_create(&(struct sy_tokenizer_options){0}, &byte) != SY_OK)
        return 1;
    int failed = cmocka_run_group_tests(tests, make_room, remove_room);
    sy_tokenizer_destroy(byte);
    return failed != 0;
}
