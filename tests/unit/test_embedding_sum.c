/* The embedding's gradient by the rows that are touched against sums over all rows, ==: vocabularies smaller
 * and larger than the tokens, tokens that come often, lanes in groups, cells of several sequences, batches
 * that cut cells, steps one behind the other, and a step that ended in its middle.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "parallel/embedding_sum.h"

enum { S = 6, D = 5, MOST_ROWS = 300, MOST_TOKENS = 64 * S };

struct lab {
    struct sy_exec x;
    struct sy_arena arena;
    struct sy_embedding_sum e;
    struct sy_walk walk;
    int64_t rows;
    int32_t ids[MOST_TOKENS]; /* in the order of the walk */
    float dy[MOST_TOKENS * D];
};

static void carve(void *self, struct sy_arena *a) { sy_embedding_sum_carve(&((struct lab *)self)->e, a); }

static void open_lab(struct lab *l, struct sy_walk walk, int64_t rows) {
    *l = (struct lab){.x = {.device = sy_device_cpu()}, .walk = walk, .rows = rows};
    assert_int_equal(sy_ops_select("ref", &l->x.ops), SY_OK);
    assert_int_equal(sy_embedding_sum_init(&l->x, &walk, S, rows, D, &l->e), SY_OK);
    assert_int_equal(sy_arena_build(l->x.device, "lab", carve, l, &l->arena), SY_OK);
}

static void close_lab(struct lab *l) {
    sy_embedding_sum_fini(&l->e);
    sy_arena_fini(&l->arena);
}

static void fill(struct lab *l, uint64_t step) {
    for (int64_t t = 0; t < sy_walk_length(&l->walk) * S; t++) {
        uint64_t r = sy_mix64(step << 32 | (uint64_t)t);
        l->ids[t] = (int32_t)((r >> 8) % 3 ? r % (uint64_t)l->rows : r % 2); /* two tokens come often */
        for (int64_t i = 0; i < D; i++)
            l->dy[t * D + i] =
                (float)(int32_t)(sy_mix64(r + (uint64_t)i + 1) >> 32) * (i % 2 ? 0x1p-31f : 0x1p-20f);
    }
}

static void batches(struct lab *l, int64_t batch, int64_t until) {
    for (int64_t k = 0; k < until; k += batch) {
        struct sy_span at = {k, until - k < batch ? until - k : batch, S};
        sy_embedding_sum_add(&l->e, &at, l->ids + k * S, sy_mat_of(l->dy + k * S * D, SY_F32, D));
    }
}

/* NUMERICS 4, written out: leaves by cell, folds by round, the tree over lanes, on all rows. */
static float lane_sum[64][MOST_ROWS * D];

static void define_lanes(const struct lab *l) {
    static float leaf[MOST_ROWS * D];
    for (int lane = 0; lane < l->walk.lanes; lane++) {
        memset(lane_sum[lane], 0, sizeof lane_sum[lane]);
        for (int64_t j = 0; j < l->walk.rounds; j++) {
            memset(leaf, 0, sizeof leaf);
            for (int64_t k = 0; k < sy_walk_length(&l->walk); k++) {
                struct sy_walk_place p = sy_walk_place(&l->walk, k);
                for (int64_t t = k * S; p.lane == lane && p.round == j && t < (k + 1) * S; t++)
                    for (int64_t i = 0; i < D; i++)
                        leaf[l->ids[t] * D + i] = leaf[l->ids[t] * D + i] + l->dy[t * D + i];
            }
            for (int64_t i = 0; i < l->rows * D; i++)
                lane_sum[lane][i] = lane_sum[lane][i] + leaf[i];
        }
    }
}

static float node(int first, int size, int leaves, int64_t i) {
    if (size == 1)
        return lane_sum[first][i];
    float left = node(first, size / 2, leaves, i);
    return first + size / 2 < leaves ? left + node(first + size / 2, size / 2, leaves, i) : left;
}

static void check(struct lab *l) {
    int size = 1;
    while (size < l->walk.lanes)
        size *= 2;
    define_lanes(l);
    const float *root = sy_embedding_sum_root(&l->e);
    for (int64_t i = 0; i < l->rows * D; i++) {
        float want = node(0, size, l->walk.lanes, i);
        if (memcmp(&root[i], &want, 4) != 0)
            fail_msg("row %d: %a, must be %a", (int)(i / D), (double)root[i], (double)want);
    }
}

static void run(struct sy_walk walk, int64_t rows, int64_t batch) {
    static struct lab l;
    open_lab(&l, walk, rows);
    for (uint64_t step = 0; step < 4; step++) {
        fill(&l, step);
        sy_embedding_sum_begin(&l.e, l.ids);
        if (step == 1) /* it ends in its middle */
            batches(&l, batch, sy_walk_length(&walk) / 2);
        else {
            batches(&l, batch, sy_walk_length(&walk));
            check(&l);
        }
    }
    close_lab(&l);
}

static void all_shapes(void **state) {
    (void)state;
    static const int64_t vocabularies[] = {2, 17, MOST_ROWS};
    for (int v = 0; v < 3; v++)
        for (int f = 1; f <= 2; f++)
            for (int cell = 1; cell <= 2; cell++)
                for (int rounds = 1; rounds <= 2; rounds++)
                    for (int groups = 1; groups <= 5; groups++)
                        for (int64_t batch = 1; batch <= 7; batch += 2) {
                            int lanes = groups * f;
                            run((struct sy_walk){lanes, f, cell, rounds, 0, lanes, 0}, vocabularies[v],
                                batch);
                        }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(all_shapes)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
