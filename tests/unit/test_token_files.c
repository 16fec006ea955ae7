/* Files of tokens as formats/token_file.h reads them: what is in them comes out, an id beyond the tokenizer
 * is named with its place, and no cut and no changed byte passes.
 */
#include "token_files.h"

#include <xxhash.h>

enum { N_IDS = 300, BOS = 256, EOS = 257 };

static const struct sy_token_options options = {"0123456789abcdef0123456789abcdef", N_IDS, BOS, EOS};

static struct sy_token_file *open_ok(const char *path) {
    struct sy_token_file *f = NULL;
    if (sy_token_file_open(path, &options, &f) != SY_OK)
        fail_msg("%s", sy_error_message());
    return f;
}

static void is_refused(const char *path, sy_status want, const char *message) {
    struct sy_token_file *f = NULL;
    sy_status status = sy_token_file_open(path, &options, &f);
    assert_null(f);
    if (status != want || !strstr(sy_error_message(), message))
        fail_msg("status %d, \"%s\" lacks \"%s\"", status, sy_error_message(), message);
}

static void is_document(const struct sy_token_file *f, int64_t i, const int32_t *id, int64_t n) {
    int32_t got[64];
    assert_true(i < f->n_documents && n <= 64);
    const struct sy_token_document *d = &f->document[i];
    assert_int_equal(d->n, n);
    assert_int_equal(sy_token_file_read(f, d->first, n, got), SY_OK);
    assert_memory_equal(got, id, (size_t)n * sizeof *id);
}

/* Known by its ids alone. */
static void is_hashed_by_ids(const struct sy_token_file *f, int64_t i, const int32_t *id, int64_t n) {
    is_document(f, i, id, n);
    assert_int_equal(f->document[i].bytes, 4 * n);
    assert_true(f->document[i].hash == XXH3_64bits(id, (size_t)n * sizeof *id));
}

/* --- llm.c ---------------------------------------------------------------------------------------------- */

static void llmc(void **state) {
    (void)state;
    static const int32_t id[] = {EOS, 1, 2, 3, EOS, BOS, EOS, 299, EOS, BOS, 5, 6};
    for (size_t size = 2; size <= 4; size += 2) {
        struct bytes b = llmc_file(id, 12, size);
        const char *path = in_room("a.bin");
        write_bytes(path, b.at, b.n);
        struct sy_token_file *f = open_ok(path);
        XXH128_hash_t hash = XXH3_128bits(b.at, b.n);
        char hex[33];
        snprintf(hex, sizeof hex, "%016llx%016llx", (unsigned long long)hash.high64,
                 (unsigned long long)hash.low64);
        assert_string_equal(f->stored[0].hash, hex);
        assert_int_equal(f->n_documents, 3);
        is_hashed_by_ids(f, 0, id + 1, 3);
        is_hashed_by_ids(f, 1, id + 7, 1);
        is_hashed_by_ids(f, 2, id + 10, 2);
        assert_int_equal(f->counts[299] + f->counts[5] + f->counts[BOS] + f->counts[EOS], 2);
        sy_token_file_close(f);
        for (size_t n = 4; n < b.n; n++) {
            write_bytes(path, b.at, n);
            is_refused(path, SY_ERR_DATA, "a.bin");
        }
        add_bytes(&b, "x", 1);
        write_bytes(path, b.at, b.n);
        is_refused(path, SY_ERR_DATA, "the file has");
        b.at[4]++; /* version */
        write_bytes(path, b.at, b.n - 1);
        is_refused(path, SY_ERR_DATA, "of magic 2024");
        unlink(path);
        free(b.at);
    }
}

static void an_id_too_large(void **state) {
    (void)state;
    enum { N = 100000 }; /* several pieces of reading */
    int32_t *id = malloc(N * sizeof *id);
    assert_non_null(id);
    for (int i = 0; i < N; i++)
        id[i] = i % 250;
    id[77777] = 300;
    const char *path = in_room("b.bin");
    struct bytes b = llmc_file(id, N, 2);
    write_bytes(path, b.at, b.n);
    is_refused(path, SY_ERR_DATA, "b.bin: token 77777 is id 300, but the tokenizer has ids 0 to 299");
    free(b.at);
    id[77777] = -1;
    b = llmc_file(id, N, 4);
    write_bytes(path, b.at, b.n);
    is_refused(path, SY_ERR_DATA, "b.bin: token 77777 is id 4294967295, but");
    free(b.at);
    id[77777] = 299;
    b = llmc_file(id, N, 4);
    write_bytes(path, b.at, b.n);
    struct sy_token_file *f = open_ok(path);
    assert_int_equal(f->n_documents, 1);
    assert_int_equal(f->document[0].n, N);
    assert_true(f->document[0].hash == XXH3_64bits(id, N * sizeof *id));
    sy_token_file_close(f);
    unlink(path);
    free(b.at);
    free(id);
}

/* --- Megatron ------------------------------------------------------------------------------------------- */

static const int32_t ids[] = {1, 2, 3, EOS, BOS, 4, EOS, EOS, 7, 8, 9, BOS, EOS, 10};
static const int64_t tokens[] = {0, 2, 2, 0, 4, 1, 2, 2, 1};
static const int64_t firsts[] = {0, 0, 3, 5, 7, 8, 9};
static const struct megatron model = {8, 2, ids, 14, tokens, 9, firsts, 6};

static void put_pair(const struct bytes *idx, const struct bytes *bin) {
    write_bytes(in_room("c.idx"), idx->at, idx->n);
    write_bytes(in_room("c.bin"), bin->at, bin->n);
}

static void megatron(void **state) {
    (void)state;
    static const struct {
        int type;
        size_t size;
    } types[] = {{8, 2}, {3, 2}, {4, 4}, {5, 8}};
    for (size_t t = 0; t < 8; t++) {
        struct megatron m = model;
        m.type = types[t / 2].type;
        m.size = types[t / 2].size;
        struct bytes idx = megatron_index(&m), bin = megatron_ids(&m);
        if (t % 2)
            add_bytes(&idx, "\0\0\0\0\0\0\0\0\0", 9); /* modes */
        put_pair(&idx, &bin);
        struct sy_token_file *f = open_ok(in_room(t % 2 ? "c.idx" : "c.bin"));
        /* documents: none; [1 2 3 EOS]; [BOS 4 EOS EOS] + 7; [8 9] + [BOS EOS]; BOS EOS of its own is
         * empty */
        assert_int_equal(f->n_documents, 4);
        assert_int_equal(f->n_empty, 2);
        is_hashed_by_ids(f, 0, (const int32_t[]){1, 2, 3}, 3);
        is_hashed_by_ids(f, 1, (const int32_t[]){4, EOS}, 2);
        is_hashed_by_ids(f, 2, (const int32_t[]){7, 8, 9}, 3);
        is_hashed_by_ids(f, 3, (const int32_t[]){10}, 1);
        assert_int_equal(f->n_stored, 2);
        assert_int_equal(f->stored[0].bytes, bin.n);
        assert_int_equal(f->stored[1].bytes, idx.n);
        sy_token_file_close(f);
        free(idx.at);
        free(bin.at);
    }
}

/* Every cut of either file, and every changed byte of the index that changes what it says. */
static void megatron_damaged(void **state) {
    (void)state;
    struct bytes idx = megatron_index(&model), bin = megatron_ids(&model);
    put_pair(&idx, &bin);
    for (size_t n = 9; n < idx.n; n++) {
        write_bytes(in_room("c.idx"), idx.at, n);
        is_refused(in_room("c.idx"), SY_ERR_DATA, "c.idx");
    }
    write_bytes(in_room("c.idx"), idx.at, idx.n);
    for (size_t n = 0; n < bin.n; n++) {
        write_bytes(in_room("c.bin"), bin.at, n);
        is_refused(in_room("c.idx"), SY_ERR_DATA, "c.bin");
    }
    write_bytes(in_room("c.bin"), bin.at, bin.n);
    int n_refused = 0;
    for (size_t i = 9; i < idx.n; i++) {
        struct sy_token_file *f = NULL;
        idx.at[i] ^= 0x41;
        write_bytes(in_room("c.idx"), idx.at, idx.n);
        n_refused += sy_token_file_open(in_room("c.idx"), &options, &f) != SY_OK;
        sy_token_file_close(f);
        idx.at[i] ^= 0x41;
    }
    assert_int_equal(n_refused, idx.n - 9);
    unlink(in_room("c.bin"));
    is_refused(in_room("c.idx"), SY_ERR_IO, "c.bin");
    free(idx.at);
    free(bin.at);
    unlink(in_room("c.idx"));
}

/* --- ours ----------------------------------------------------------------------------------------------- */

static const struct sy_token_document texts[] = {{.n = 3, .bytes = 7, .hash = 1},
                                                 {.n = 1, .bytes = 1, .hash = UINT64_MAX}};

static void write_ours(const char *path, int32_t n_ids) {
    struct sy_token_writer *w = NULL;
    const struct sy_token_head head = {options.tokenizer, n_ids, 0};
    const struct sy_token_note note = {"bad_lines", "12"};
    assert_int_equal(sy_token_writer_open(path, -1, &head, &w), SY_OK);
    assert_int_equal(sy_token_writer_add(w, &texts[0], (const int32_t[]){5, 6, 299}), SY_OK);
    assert_int_equal(sy_token_writer_add(w, &texts[1], (const int32_t[]){0}), SY_OK);
    assert_int_equal(sy_token_writer_add(w, &(struct sy_token_document){0}, NULL), SY_ERR_USAGE);
    assert_int_equal(sy_token_writer_finish(w, &note, 1), SY_OK);
}

static void ours(void **state) {
    (void)state;
    const char *path = in_room("d.tokens");
    write_ours(path, N_IDS);
    struct sy_token_file *f = open_ok(path);
    assert_int_equal(f->n_documents, 2);
    is_document(f, 0, (const int32_t[]){5, 6, 299}, 3);
    is_document(f, 1, (const int32_t[]){0}, 1);
    assert_true(f->document[1].hash == UINT64_MAX && f->document[0].bytes == 7);
    assert_int_equal(f->counts[299], 1);
    assert_int_equal(sy_token_file_number(f, "bad_lines"), 12);
    assert_int_equal(sy_token_file_number(f, "digest"), -1);
    assert_int_equal(sy_token_file_read(f, 3, 2, (int32_t[2]){0}), SY_ERR_USAGE);
    sy_token_file_close(f);
    struct sy_token_writer *w = NULL;
    assert_int_equal(sy_token_writer_open(path, -1, &(struct sy_token_head){"x", 5, 0}, &w), SY_ERR_IO);
    unlink(path);
    write_ours(path, N_IDS + 1);
    is_refused(path, SY_ERR_DATA, "with 301 ids, the run's is 0123");
    unlink(path);
}

/* A changed bit of any byte, and any cut, is told when the file is opened or its tokens are read. */
static void ours_damaged(void **state) {
    (void)state;
    const char *path = in_room("d.tokens");
    write_ours(path, N_IDS);
    struct bytes b = read_bytes(path);
    for (size_t i = 0; i < b.n; i++) {
        struct sy_token_file *f = NULL;
        if (b.at[i] == ' ')
            continue; /* what fills the header up */
        b.at[i] ^= 2;
        write_bytes(path, b.at, b.n);
        sy_status status = sy_token_file_open(path, &options, &f);
        if (status == SY_OK)
            status = sy_token_file_check(f);
        if (status == SY_OK)
            fail_msg("byte %zu is changed and nothing says so", i);
        sy_token_file_close(f);
        b.at[i] ^= 2;
    }
    for (size_t n = 0; n < b.n; n += 7) {
        struct sy_token_file *f = NULL;
        write_bytes(path, b.at, n);
        assert_int_not_equal(sy_token_file_open(path, &options, &f), SY_OK);
    }
    free(b.at);
    unlink(path);
}

/* A file that becomes shorter while it is read, and many blocks. */
static void ours_in_blocks(void **state) {
    (void)state;
    enum { DOCUMENTS = 500, EACH = 333 };
    const char *path = in_room("e.tokens");
    struct sy_token_writer *w = NULL;
    int32_t id[EACH];
    assert_int_equal(sy_token_writer_open(path, -1, &(struct sy_token_head){options.tokenizer, N_IDS, 0}, &w),
                     SY_OK);
    for (int i = 0; i < DOCUMENTS; i++) {
        for (int k = 0; k < EACH; k++)
            id[k] = (i * 7 + k) % N_IDS;
        assert_int_equal(
            sy_token_writer_add(w, &(struct sy_token_document){.n = EACH, .bytes = 9, .hash = 9}, id), SY_OK);
    }
    assert_int_equal(sy_token_writer_tokens(w), DOCUMENTS * EACH);
    assert_int_equal(sy_token_writer_finish(w, NULL, 0), SY_OK);
    struct sy_token_file *f = open_ok(path);
    for (int i = 0; i < DOCUMENTS; i += 41) {
        assert_int_equal(sy_token_file_read(f, f->document[i].first, EACH, id), SY_OK);
        for (int k = 0; k < EACH; k++)
            assert_int_equal(id[k], (i * 7 + k) % N_IDS);
    }
    assert_int_equal(truncate(path, 200000), 0);
    assert_int_equal(sy_token_file_read(f, 150000, 10, id), SY_ERR_DATA);
    assert_non_null(strstr(sy_error_message(), "e.tokens: ends at byte 304096, 20 bytes early"));
    sy_token_file_close(f);
    unlink(path);
}

/* --- an index of another's file ------------------------------------------------------------------------- */

static void an_index(void **state) {
    (void)state;
    struct bytes idx = megatron_index(&model), bin = megatron_ids(&model);
    put_pair(&idx, &bin);
    struct sy_token_file *f = open_ok(in_room("c.bin")), *again = NULL;
    const char *path = in_room("c.index");
    assert_int_equal(
        sy_token_index_write(path, -1, f, options.tokenizer, &(struct sy_token_note){"key", "k"}, 1), SY_OK);
    assert_int_equal(sy_token_file_open_indexed(in_room("c.idx"), path, &options, &again), SY_OK);
    assert_int_equal(again->n_documents, f->n_documents);
    assert_int_equal(again->n_empty, f->n_empty);
    assert_memory_equal(again->document, f->document, (size_t)f->n_documents * sizeof *f->document);
    assert_memory_equal(again->counts, f->counts, N_IDS * sizeof *f->counts);
    for (int i = 0; i < 2; i++)
        assert_string_equal(again->stored[i].hash, f->stored[i].hash);
    is_document(again, 2, (const int32_t[]){7, 8, 9}, 3);
    assert_string_equal(sy_token_file_note(again, "key"), "k");
    is_refused(path, SY_ERR_USAGE, "no file of tokens");
    sy_token_file_close(again);
    sy_token_file_close(f);
    free(idx.at);
    free(bin.at);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(llmc),           cmocka_unit_test(an_id_too_large),
        cmocka_unit_test(megatron),       cmocka_unit_test(megatron_damaged),
        cmocka_unit_test(ours),           cmocka_unit_test(ours_damaged),
        cmocka_unit_test(ours_in_blocks), cmocka_unit_test(an_index),
    };
    return cmocka_run_group_tests(tests, make_room, remove_room) != 0;
}
