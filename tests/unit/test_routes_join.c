/* Routes of many ranks in one file: however sequences and layers are dealt to ranks, its bytes are those of
 * one rank; what nobody has filled in, and what two have, is an error on every rank.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "routes/routes.h"
#include "switchyard.h"
#include "../lib/room.h"

enum { B = 5, S = 3, K = 3, E = 9, LAYERS = 3, MOST_BYTES = 1 << 14, NOBODY = 99 };
static const int layers[LAYERS] = {1, 2, 10};

struct dealt { /* to rank (a layer + b sequence) mod ranks */
    int ranks, a, b;
    int hole, twice; /* nobody has, or all have, the second layer's sequence 3 */
    const char *says;
    sy_status expected;
};

static void fill(const struct sy_routes_files *f, int layer, int64_t sequence) {
    struct sy_routes r = sy_routes_at(f, layer, sequence);
    for (int i = 0; i < S * K; i++) {
        r.ids[i] = (int32_t)((layer + sequence + i / K) % 3 + 3 * (i % K));
        r.w[i] = -1.0f / (float)(layer + 7 * sequence + i + 1);
    }
}

static int owner(const struct dealt *d, int layer, int64_t sequence) {
    int other = layer == 1 && sequence == 3;
    return other && d->hole ? NOBODY : (int)((d->a * layer + d->b * sequence) % d->ranks);
}

static sy_status as_rank(const struct sy_comm *c, void *arg) {
    const struct dealt *d = arg;
    struct sy_routes_files *f;
    char dir[160];
    snprintf(dir, sizeof dir, "%s/%d", room, d->ranks);
    SY_TRY(sy_routes_open(&(struct sy_routes_options){.dir = dir,
                                                      .write = 1,
                                                      .sequences = B,
                                                      .seq_len = S,
                                                      .top_k = K,
                                                      .experts = E,
                                                      .layers = layers,
                                                      .n_layers = LAYERS},
                          &f));
    for (int step = 1; step <= 2; step++) { /* the second has nothing of the first */
        for (int l = 0; l < LAYERS; l++)
            for (int64_t s = 0; s < B; s++)
                if (owner(d, l, s) == c->rank || (d->twice && l == 1 && s == 3))
                    fill(f, layers[l], s);
        sy_status status = sy_routes_join(f, c);
        if (status == SY_OK)
            status = c->rank == 0 ? sy_routes_save(f, step) : SY_OK;
        sy_routes_forget(f);
        if (status != SY_OK) {
            sy_routes_close(f);
            return status;
        }
    }
    sy_routes_close(f);
    return SY_OK;
}

static size_t read_file(int ranks, int step, char *bytes) {
    char path[200];
    snprintf(path, sizeof path, "%s/%d/step-%08d.safetensors", room, ranks, step);
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    size_t n = fread(bytes, 1, MOST_BYTES, f);
    fclose(f);
    return n;
}

static void bytes_of_one_rank(void **state) {
    (void)state;
    static struct dealt deals[] = {{.ranks = 1, .a = 0, .b = 0}, {.ranks = 2, .a = 0, .b = 1},
                                   {.ranks = 3, .a = 0, .b = 1}, {.ranks = 2, .a = 1, .b = 0},
                                   {.ranks = 4, .a = 1, .b = 2}, {.ranks = 7, .a = 1, .b = 1}};
    static char one[MOST_BYTES], many[MOST_BYTES];
    for (size_t i = 0; i < sizeof deals / sizeof *deals; i++) {
        assert_int_equal(sy_comm_threads_run(deals[i].ranks, as_rank, &deals[i]), SY_OK);
        size_t n = read_file(1, 1, one);
        assert_true(n > LAYERS * B * S * K * 8);
        for (int step = 1; step <= 2; step++) {
            assert_int_equal(read_file(deals[i].ranks, step, many), read_file(1, step, one));
            assert_memory_equal(many, one, n);
        }
    }
}

static void what_is_wrong(void **state) {
    (void)state;
    static struct dealt deals[] = {
        {.ranks = 3,
         .b = 1,
         .hole = 1,
         .says = "the routes of layer 2, sequence 3 are not there",
         .expected = SY_ERR_RUNTIME},
        {.ranks = 3,
         .b = 1,
         .twice = 1,
         .says = "3 ranks have the routes of layer 2, sequence 3",
         .expected = SY_ERR_RUNTIME},
    };
    for (size_t i = 0; i < sizeof deals / sizeof *deals; i++) {
        assert_int_equal(sy_comm_threads_run(deals[i].ranks, as_rank, &deals[i]), deals[i].expected);
        if (!strstr(sy_error_message(), deals[i].says))
            fail_msg("no '%s' in: %s", deals[i].says, sy_error_message());
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(bytes_of_one_rank), cmocka_unit_test(what_is_wrong)};
    return cmocka_run_group_tests(tests, open_room, close_room);
}
