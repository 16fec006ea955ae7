/* Files of routes: a round trip whose bytes do not depend on the order of filling, files of other programs,
 * damaged files of every kind, folders that are not there.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "formats/safetensors.h"
#include "routes/routes.h"

enum { B = 3, S = 4, K = 2, E = 12, N = B * S * K, LAYERS = 3, MAX_BYTES = 1 << 14 };
static const int layers[LAYERS] = {1, 2, 10}; /* by name: 1, 10, 2 */

static char room[64], dir[128], file[192];

static struct sy_routes_options options(int write) {
    return (struct sy_routes_options){.dir = dir,
                                      .write = write,
                                      .sequences = B,
                                      .seq_len = S,
                                      .top_k = K,
                                      .experts = E,
                                      .layers = layers,
                                      .n_layers = LAYERS};
}

static struct sy_routes_files *opened(int write) {
    struct sy_routes_files *f = NULL;
    struct sy_routes_options o = options(write);
    if (sy_routes_open(&o, &f) != SY_OK)
        fail_msg("%s", sy_error_message());
    return f;
}

static void ok(sy_status status) {
    if (status != SY_OK)
        fail_msg("%s", sy_error_message());
}

/* The message of a failure has all of these words. */
static void fails(sy_status status, sy_status should, const char *a, const char *b) {
    if (status != should || !strstr(sy_error_message(), a) || !strstr(sy_error_message(), b))
        fail_msg("status %d, not %d, or no '%s' and '%s' in: %s", (int)status, (int)should, a, b,
                 sy_error_message());
}

static int32_t id_of(int layer, int64_t sequence, int64_t token, int64_t k) {
    return (int32_t)((layer + 5 * sequence + token) % (E / 2) + k * (E / 2));
}
static float weight_of(int layer, int64_t sequence, int64_t token, int64_t k) {
    return (float)(layer + sequence) / (float)(1 + token + 3 * k);
}

static int skipped; /* of the last load */

static void fill(const struct sy_routes_files *f, int layer, int64_t sequence) {
    struct sy_routes r = sy_routes_at(f, layer, sequence);
    for (int64_t i = 0; i < S * K; i++) {
        r.ids[i] = id_of(layer, sequence, i / K, i % K);
        r.w[i] = weight_of(layer, sequence, i / K, i % K);
    }
}

static void fill_all(const struct sy_routes_files *f) {
    for (int l = 0; l < LAYERS; l++)
        for (int64_t s = 0; s < B; s++)
            fill(f, layers[l], s);
}

static int filled_with(const struct sy_routes_files *f, int layer, int64_t sequence, int weights) {
    struct sy_routes r = sy_routes_at(f, layer, sequence);
    if (weights != (r.w != NULL))
        return 0;
    for (int64_t i = 0; i < S * K; i++)
        if (r.ids[i] != id_of(layer, sequence, i / K, i % K) ||
            (weights && r.w[i] != weight_of(layer, sequence, i / K, i % K)))
            return 0;
    return 1;
}

static void is_filled(const struct sy_routes_files *f, int weights) {
    for (int l = 0; l < LAYERS; l++)
        for (int64_t s = 0; s < B; s++)
            if (!filled_with(f, layers[l], s, weights))
                fail_msg("layer %d, sequence %lld: other routes", layers[l], (long long)s);
}

static void name_file(int64_t step) {
    snprintf(file, sizeof file, "%s/step-%08lld.safetensors", dir, (long long)step);
}

static size_t read_bytes(char out[MAX_BYTES]) {
    FILE *f = fopen(file, "rb");
    assert_non_null(f);
    size_t n = fread(out, 1, MAX_BYTES, f);
    fclose(f);
    assert_in_range(n, 1, MAX_BYTES - 1);
    return n;
}

static void write_bytes(const char *bytes, size_t n) {
    FILE *f = fopen(file, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
}

/* Saves the routes as step 12 and leaves its name in `file`. */
static void save_12(void) {
    struct sy_routes_files *f = opened(1);
    fill_all(f);
    ok(sy_routes_save(f, 12));
    sy_routes_close(f);
    name_file(12);
}

static sy_status load_12(void) {
    struct sy_routes_files *f = opened(0);
    sy_status status = sy_routes_load(f, 12, &skipped);
    sy_routes_close(f);
    return status;
}

static void test_round_trip(void **unused) {
    (void)unused;
    static char first[MAX_BYTES], second[MAX_BYTES];
    struct sy_routes_files *f = opened(1);
    assert_null(sy_routes_at(f, 0, 0).ids);
    assert_null(sy_routes_at(f, 3, 0).ids);
    fill_all(f);
    ok(sy_routes_save(f, 12));
    name_file(12);
    size_t n = read_bytes(first);
    for (int64_t s = B; s-- > 0;) /* another order of the walk, over what is there */
        for (int l = LAYERS; l-- > 0;)
            fill(f, layers[l], s);
    ok(sy_routes_save(f, 12));
    assert_int_equal(read_bytes(second), n);
    assert_memory_equal(first, second, n);
    fill_all(f);
    fill(f, 10, 0);
    ok(sy_routes_save(f, 13));
    /* A sequence that was forgotten. */
    fill_all(f);
    ok(sy_routes_save(f, 14));
    for (int l = 0; l < LAYERS; l++)
        for (int64_t s = 0; s < B; s++)
            if (l != 1 || s != 2)
                fill(f, layers[l], s);
    fails(sy_routes_save(f, 15), SY_ERR_RUNTIME, "step 15", "layer 2, sequence 2");
    sy_routes_close(f);
    f = opened(0);
    for (int step = 12; step < 15; step++) {
        ok(sy_routes_load(f, step, &skipped));
        is_filled(f, 1);
    }
    sy_routes_close(f);
    struct sy_safetensors *t = NULL;
    ok(sy_safetensors_open(file, &t));
    assert_int_equal(sy_safetensors_count(t), 2 * LAYERS);
    assert_string_equal(sy_safetensors_at(t, 2)->name, "layers.10.ids");
    assert_int_equal(sy_safetensors_at(t, 2)->dtype, SY_SAFETENSORS_I32);
    assert_int_equal(sy_safetensors_at(t, 3)->dtype, SY_SAFETENSORS_F32);
    assert_int_equal(sy_safetensors_metadata_count(t), 7);
    assert_string_equal(sy_safetensors_metadata_at(t, 0).value, "switchyard routes");
    sy_safetensors_close(t);
}

/* --- files of other programs ---------------------------------------------------------------------------- */

struct foreign {
    const char *metadata, *value; /* NULL: none */
    int64_t k, sequences;         /* 0: K, B */
    int wide, no_weights, skip;   /* I64; tensors of this layer are left out */
    const char *extra;            /* one tensor more, at the end */
    int64_t at, id;               /* the id of this route of layer 2, if wide */
};

static void write_foreign(struct foreign o) {
    struct sy_safetensors_writer *w = NULL;
    int64_t dims[] = {o.sequences ? o.sequences : B, S, o.k ? o.k : K}, n = dims[0] * S * dims[2];
    static const int by_name[LAYERS] = {1, 10, 2};
    char name[64];
    unlink(file);
    ok(sy_safetensors_writer_open(file, &w));
    if (o.metadata)
        ok(sy_safetensors_writer_metadata(w, o.metadata, o.value));
    for (int l = 0; l < LAYERS; l++) {
        if (by_name[l] == o.skip)
            continue;
        snprintf(name, sizeof name, "layers.%d.ids", by_name[l]);
        ok(sy_safetensors_writer_declare(w, name, o.wide ? SY_SAFETENSORS_I64 : SY_SAFETENSORS_I32, 3, dims));
        snprintf(name, sizeof name, "layers.%d.weights", by_name[l]);
        if (!o.no_weights)
            ok(sy_safetensors_writer_declare(w, name, SY_SAFETENSORS_F32, 3, dims));
    }
    if (o.extra)
        ok(sy_safetensors_writer_declare(w, o.extra, SY_SAFETENSORS_U8, 1, (int64_t[]){0}));
    for (int l = 0; l < LAYERS; l++) {
        if (by_name[l] == o.skip)
            continue;
        for (int64_t i = 0; i < n; i++) { /* descending in a token */
            int64_t k = dims[2] - 1 - i % dims[2];
            int64_t id = id_of(by_name[l], i / dims[2] / S, i / dims[2] % S, k);
            if (o.wide && by_name[l] == 2 && i == o.at)
                id = o.id;
            int32_t narrow = (int32_t)id;
            ok(o.wide ? sy_safetensors_writer_write(w, &id, 8) : sy_safetensors_writer_write(w, &narrow, 4));
        }
        for (int64_t i = 0; i < n && !o.no_weights; i++) {
            float x = weight_of(by_name[l], i / dims[2] / S, i / dims[2] % S, dims[2] - 1 - i % dims[2]);
            ok(sy_safetensors_writer_write(w, &x, 4));
        }
    }
    ok(sy_safetensors_writer_finish(w, 0, NULL));
}

static void test_foreign(void **unused) {
    (void)unused;
    struct sy_routes_files *f = opened(0);
    name_file(12);
    write_foreign((struct foreign){.metadata = NULL});
    ok(sy_routes_load(f, 12, &skipped));
    is_filled(f, 1);
    write_foreign((struct foreign){
        .wide = 1, .no_weights = 1, .at = -1, .metadata = "format", .value = "pt", .extra = "logits"});
    ok(sy_routes_load(f, 12, &skipped));
    is_filled(f, 0);
    write_foreign((struct foreign){.wide = 1, .at = -1, .metadata = "step", .value = "seven"});
    ok(sy_routes_load(f, 12, &skipped));
    is_filled(f, 1);
    for (int i = 0; i < 4; i++) {
        static const int64_t ids[] = {E, -1, (int64_t)1 << 32, INT64_MIN};
        char want[64];
        write_foreign((struct foreign){.wide = 1, .at = (1 * S + 3) * K + 1, .id = ids[i]});
        snprintf(want, sizeof want, "sequence 1, token 3: expert %lld, must be in 0..11", (long long)ids[i]);
        fails(sy_routes_load(f, 12, &skipped), SY_ERR_DATA, "layer 2, ", want);
        assert_non_null(strstr(sy_error_message(), file));
    }
    write_foreign((struct foreign){.k = 1});
    fails(sy_routes_load(f, 12, &skipped), SY_ERR_DATA, "layers.1.ids", "is [3, 4, 1], must be [3, 4, 2]");
    write_foreign((struct foreign){.sequences = 4});
    fails(sy_routes_load(f, 12, &skipped), SY_ERR_DATA, "layers.1.ids", "is [4, 4, 2], must be [3, 4, 2]");
    write_foreign((struct foreign){.skip = 10});
    fails(sy_routes_load(f, 12, &skipped), SY_ERR_DATA, file, "has no tensor \"layers.10.ids\"");
    write_foreign((struct foreign){.extra = "layers.3.ids"});
    fails(sy_routes_load(f, 12, &skipped), SY_ERR_DATA, "\"layers.3.ids\"", "it has 3, from 1 to 10");
    /* Who says that it is ours must be so. */
    write_foreign((struct foreign){.no_weights = 1, .metadata = "format", .value = "switchyard routes"});
    fails(sy_routes_load(f, 12, &skipped), SY_ERR_DATA, file, "has no tensor \"layers.1.weights\"");
    write_foreign((struct foreign){.extra = "logits", .metadata = "format", .value = "switchyard routes"});
    fails(sy_routes_load(f, 12, &skipped), SY_ERR_DATA, file, "\"logits\"");
    sy_routes_close(f);
}

/* --- damage --------------------------------------------------------------------------------------------- */

static int64_t offset_of(const char *name) {
    struct sy_safetensors *t = NULL;
    ok(sy_safetensors_open(file, &t));
    const struct sy_safetensors_tensor *tensor = sy_safetensors_find(t, name);
    assert_non_null(tensor);
    int64_t offset = tensor->offset;
    sy_safetensors_close(t);
    return offset;
}

/* Four bytes of route i of a tensor of the good file, and what loading says then. */
static void poke(const char *tensor, int64_t i, const void *value, const char *a, const char *b) {
    save_12();
    static char bytes[MAX_BYTES];
    size_t n = read_bytes(bytes);
    memcpy(bytes + offset_of(tensor) + 4 * i, value, 4);
    write_bytes(bytes, n);
    fails(load_12(), SY_ERR_DATA, a, b);
    assert_non_null(strstr(sy_error_message(), file));
}

static void test_damaged_values(void **unused) {
    (void)unused;
    const int32_t same = id_of(10, 2, 1, 0), large = E, negative = -7;
    const float nan = NAN, infinite = -INFINITY;
    char twice[64];
    snprintf(twice, sizeof twice, "expert %d is there twice", same);
    poke("layers.10.ids", (2 * S + 1) * K + 1, &same, "layer 10, sequence 2, token 1: ", twice);
    poke("layers.1.ids", 0, &large, "layer 1, sequence 0, token 0: ", "expert 12, must be in 0..11");
    poke("layers.2.ids", N - 1, &negative, "layer 2, sequence 2, token 3: ", "expert -7, must be in 0..11");
    poke("layers.2.weights", S * K, &nan, "layer 2, sequence 1, token 0: the weight of expert 1 is ",
         "nan, must be finite");
    poke("layers.1.weights", N - 1, &infinite, "layer 1, sequence 2, token 3: ", "-inf, must be finite");
}

static void test_damaged_files(void **unused) {
    (void)unused;
    static char good[MAX_BYTES], bytes[MAX_BYTES];
    save_12();
    size_t n = read_bytes(good), header = (size_t)offset_of("layers.1.ids");
    for (size_t cut = 0; cut < n; cut += cut < header ? 1 : 5) {
        write_bytes(good, cut);
        fails(load_12(), SY_ERR_DATA, file, "");
    }
    memcpy(bytes, good, n);
    bytes[n] = 0;
    write_bytes(bytes, n + 1);
    fails(load_12(), SY_ERR_DATA, file, "");
    /* A flipped bit of the header is an error, or it was one of metadata and the routes are the same. */
    struct sy_routes_files *f = opened(0);
    int harmless = 0;
    for (size_t bit = 0; bit < 8 * header; bit++) {
        memcpy(bytes, good, n);
        bytes[bit / 8] = (char)(bytes[bit / 8] ^ (1 << bit % 8));
        write_bytes(bytes, n);
        sy_status status = sy_routes_load(f, 12, &skipped);
        if (status == SY_OK)
            is_filled(f, 1);
        else if (status != SY_ERR_DATA)
            fail_msg("bit %zu: %s", bit, sy_error_message());
        harmless += status == SY_OK;
    }
    assert_in_range(harmless, 1, 8 * header / 3);
    /* Another step's file, and another run's. */
    write_bytes(good, n);
    ok(sy_routes_load(f, 12, &skipped));
    sy_routes_close(f);
    name_file(5);
    write_bytes(good, n);
    f = opened(0);
    fails(sy_routes_load(f, 5, &skipped), SY_ERR_DATA, file, "its step is 12, but 5 is needed here");
    sy_routes_close(f);
    struct sy_routes_options o = options(0);
    o.experts = 16;
    ok(sy_routes_open(&o, &f));
    fails(sy_routes_load(f, 12, &skipped), SY_ERR_DATA, "its num_experts is 12, but 16", "step-00000012");
    sy_routes_close(f);
    unlink(file);
}

static void test_folders(void **unused) {
    (void)unused;
    struct sy_routes_files *f = NULL;
    struct sy_routes_options o = options(0);
    char path[256];
    f = opened(1);
    for (int step = 100; step < 108; step++) {
        fill_all(f);
        if (step != 104)
            ok(sy_routes_save(f, step));
    }
    sy_routes_close(f);
    f = opened(0);
    fails(sy_routes_load(f, 104, &skipped), SY_ERR_DATA, dir, "no routes of step 104");
    assert_non_null(strstr(sy_error_message(), "100-103, 105-107"));
    sy_routes_close(f);
    o.dir = "/nowhere/at/all";
    fails(sy_routes_open(&o, &f), SY_ERR_IO, "moe.routes_in", "/nowhere/at/all");
    name_file(100);
    o.dir = file;
    fails(sy_routes_open(&o, &f), SY_ERR_IO, file, "is no folder");
    o.write = 1;
    fails(sy_routes_open(&o, &f), SY_ERR_IO, "moe.routes_out", "cannot make the folder");
    snprintf(path, sizeof path, "%s/deep/down", file);
    o.dir = path;
    fails(sy_routes_open(&o, &f), SY_ERR_IO, "moe.routes_out", "cannot make the folder");
    o.dir = "/proc";
    fails(sy_routes_open(&o, &f), SY_ERR_IO, "moe.routes_out = /proc", "no file can be made there");
    /* A folder that goes away while the run goes on. */
    snprintf(path, sizeof path, "%s/a/b", room);
    o.dir = path;
    ok(sy_routes_open(&o, &f));
    rmdir(path);
    fill_all(f);
    fails(sy_routes_save(f, 1), SY_ERR_IO, path, "cannot create");
    sy_routes_close(f);
    snprintf(path, sizeof path, "%s/a", room);
    rmdir(path);
    /* Sizes that no machine has. */
    o = options(0);
    o.sequences = (int64_t)1 << 40;
    o.seq_len = (int64_t)1 << 40;
    fails(sy_routes_open(&o, &f), SY_ERR_MEMORY, dir, "");
    o = options(0);
    o.top_k = E + 1;
    fails(sy_routes_open(&o, &f), SY_ERR_USAGE, dir, "13 of 12 experts");
    sy_routes_close(NULL);
}

static void remove_files(void) {
    for (int step = 0; step < 110; step++) {
        name_file(step);
        unlink(file);
    }
}

static int setup(void **unused) {
    (void)unused;
    return mkdir(dir, 0777);
}
static int teardown(void **unused) {
    (void)unused;
    remove_files();
    return rmdir(dir); /* nothing temporary is left */
}

/* A step that was skipped: a file without routes, which says so; nothing else passes for one. */
static void test_skipped(void **unused) {
    (void)unused;
    static char bytes[MAX_BYTES];
    struct sy_routes_files *f = opened(1);
    ok(sy_routes_save_skipped(f, 11)); /* nothing was filled */
    fill_all(f);
    assert_int_equal(sy_routes_finite(f), 1);
    sy_routes_at(f, layers[LAYERS - 1], B - 1).w[S * K - 1] = INFINITY;
    assert_int_equal(sy_routes_finite(f), 0);
    sy_routes_at(f, layers[LAYERS - 1], B - 1).w[S * K - 1] = 1;
    sy_routes_at(f, layers[0], 0).w[0] = NAN;
    assert_int_equal(sy_routes_finite(f), 0);
    ok(sy_routes_save_skipped(f, 12));
    fails(sy_routes_save(f, 13), SY_ERR_RUNTIME, "step 13",
          "are not there"); /* what was filled is forgotten */
    fill_all(f);
    ok(sy_routes_save(f, 13));
    sy_routes_close(f);
    f = opened(0);
    for (int step = 11; step <= 13; step++) {
        skipped = -1;
        ok(sy_routes_load(f, step, &skipped));
        assert_int_equal(skipped, step < 13);
    }
    is_filled(f, 1);
    name_file(11);
    size_t n = read_bytes(bytes);
    assert_non_null(strstr(bytes + 8, "\"skipped\":\"1\""));
    name_file(14); /* of another step */
    write_bytes(bytes, n);
    fails(sy_routes_load(f, 14, &skipped), SY_ERR_DATA, file, "its step is 11, but 14 is needed here");
    name_file(11);
    strstr(bytes + 8, "\"skipped\":\"1")[11] = '0'; /* not skipped: then the routes are missing */
    write_bytes(bytes, n);
    fails(sy_routes_load(f, 11, &skipped), SY_ERR_DATA, file, "has no tensor");
    name_file(13);
    n = read_bytes(bytes);
    char *format = strstr(bytes + 8, "\"sequences\""); /* renamed: skipped, and with routes */
    assert_non_null(format);
    memcpy(format, "\"skipped\":\"1\"  ", 15);
    write_bytes(bytes, n);
    fails(sy_routes_load(f, 13, &skipped), SY_ERR_DATA, file, "of a step that was skipped, but has tensors");
    sy_routes_close(f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_round_trip, setup, teardown),
        cmocka_unit_test_setup_teardown(test_skipped, setup, teardown),
        cmocka_unit_test_setup_teardown(test_foreign, setup, teardown),
        cmocka_unit_test_setup_teardown(test_damaged_values, setup, teardown),
        cmocka_unit_test_setup_teardown(test_damaged_files, setup, teardown),
        cmocka_unit_test_setup_teardown(test_folders, setup, teardown),
    };
    const char *tmp = getenv("TMPDIR");
    snprintf(room, sizeof room, "%.40s/sy_routes_XXXXXX", tmp && strlen(tmp) < 40 ? tmp : "/tmp");
    if (!mkdtemp(room))
        return 1;
    snprintf(dir, sizeof dir, "%s/routes", room);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    rmdir(room);
    return failed != 0;
}
