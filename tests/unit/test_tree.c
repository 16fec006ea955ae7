/* The tree of sums over lanes against a recursive definition, ==, for every number of leaves and every width
 * dividing it.
 *
 * node(level, i) = node(level - 1, 2i) + node(level - 1, 2i + 1), an absent node is skipped: the root of
 * leaves [0, n) is that of the aligned halves of the next power of two. Buffers are exactly as many as
 * sy_tree_buffers says: they are taken from an arena and start as NaN, so that a buffer that is reused
 * without being cleared, or a lane that is never cleared, shows.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "parallel/tree.h"

enum { PARAMS = 3, WIDE = 37, MOST_LEAVES = 70, ROUNDS = 3 };

static uint64_t state = 5;
static uint64_t random_bits(void) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    uint64_t z = (state ^ state >> 29) * 0xff51afd7ed558ccdu;
    return z ^ z >> 32;
}
static int below(int n) { return (int)((random_bits() >> 33) % (uint64_t)n); }

/* Magnitudes that differ, so that nearly every other order of adding shows. */
static float number(void) { return ldexpf((float)(int32_t)(random_bits() >> 32), below(24) - 40); }

/* leaf[p][lane][round][i] */
static float leaf[PARAMS][MOST_LEAVES][ROUNDS][WIDE];

static float defined_lane(int p, int lane, int i) {
    float a = 0.0f;
    for (int j = 0; j < ROUNDS; j++)
        a = a + leaf[p][lane][j][i];
    return a;
}

/* The node of leaves [first, first + size), size a power of two; at least one leaf is there. */
static float defined_node(int p, int first, int size, int leaves, int i) {
    if (size == 1)
        return defined_lane(p, first, i);
    float left = defined_node(p, first, size / 2, leaves, i);
    if (first + size / 2 >= leaves)
        return left;
    return left + defined_node(p, first + size / 2, size / 2, leaves, i);
}

static float defined_root(int p, int leaves, int i) {
    int size = 1;
    while (size < leaves)
        size *= 2;
    return defined_node(p, 0, size, leaves, i);
}

static float in_turn(int p, int leaves, int i) {
    float a = defined_lane(p, 0, i);
    for (int lane = 1; lane < leaves; lane++)
        a = a + defined_lane(p, lane, i);
    return a;
}

static void fill(void) {
    for (int p = 0; p < PARAMS; p++)
        for (int lane = 0; lane < MOST_LEAVES; lane++)
            for (int j = 0; j < ROUNDS; j++)
                for (int i = 0; i < WIDE; i++)
                    leaf[p][lane][j][i] = number();
}

struct lab {
    struct sy_arena arena;
    struct sy_tree tree;
    int rounds; /* leaves of a lane; 1: it is added to its sibling straight away */
};

static void open_shape(struct lab *l, const struct sy_tree_shape *shape) {
    static const int64_t sizes[PARAMS] = {WIDE, WIDE, WIDE};
    struct sy_arena measure = sy_arena_measure();
    *l = (struct lab){.rounds = ROUNDS};
    assert_int_equal(sy_tree_init(shape, PARAMS, sizes, &l->tree), SY_OK);
    sy_tree_carve(&l->tree, &measure, "tree");
    assert_int_equal(sy_arena_init(measure.used, "tree", &l->arena), SY_OK);
    sy_tree_carve(&l->tree, &l->arena, "tree");
    assert_int_equal(sy_arena_check(&l->arena, "tree"), SY_OK);
    for (int b = 0; b < l->tree.n_buffers; b++)
        memset(l->tree.buffer[b], 0xff, (size_t)l->tree.n * sizeof(float));
}

static void open_lab(struct lab *l, int leaves, int width) {
    open_shape(l, &(struct sy_tree_shape){.leaves = leaves, .width = width});
}

static void close_lab(struct lab *l) {
    sy_arena_fini(&l->arena);
    sy_tree_fini(&l->tree);
}

/* What the tree's caller does. */
static void add_leaf(struct lab *l, int p, int lane, int round) {
    struct sy_tree_sum to = sy_tree_lane(&l->tree, p, lane, l->rounds == 1);
    for (int i = 0; i < WIDE; i++)
        to.sum[i] = to.fresh ? leaf[p][lane][round][i] : to.sum[i] + leaf[p][lane][round][i];
}

static void finish(struct lab *l, int p, int lane) {
    struct sy_tree_join joins[SY_TREE_LEVELS];
    int n = sy_tree_finish(&l->tree, p, lane, joins);
    for (int k = 0; k < n; k++) {
        /* what is added are the lanes just finished */
        assert_true(joins[k].first <= lane && lane < joins[k].first + joins[k].n_lanes);
        for (int i = 0; i < WIDE; i++)
            joins[k].to[i] = joins[k].to[i] + joins[k].from[i];
    }
}

static void shuffle(int n, int *order) {
    for (int i = 0; i < n; i++)
        order[i] = i;
    for (int i = n - 1; i > 0; i--) {
        int j = below(i + 1), t = order[i];
        order[i] = order[j];
        order[j] = t;
    }
}

/* One lane group: its lanes are opened in any order, every round adds to them in any order, and they
 * finish ascending. */
static void group(struct lab *l, int p, int first, int width) {
    int order[MOST_LEAVES];
    for (int j = 0; j < l->rounds; j++) {
        shuffle(width, order);
        for (int k = 0; k < width; k++)
            add_leaf(l, p, first + (l->rounds > 1 ? order[k] : k), j);
    }
    for (int k = 0; k < width; k++)
        finish(l, p, first + k);
}

static int differs(struct lab *l, int leaves, float (*want)(int, int, int)) {
    int n = 0;
    for (int p = 0; p < PARAMS; p++) {
        const float *root = sy_tree_root(&l->tree, p);
        for (int i = 0; i < WIDE; i++)
            n += !(root[i] == want(p, leaves, i));
    }
    return n;
}

static void run(struct lab *l, int leaves, int width) {
    sy_tree_begin(&l->tree);
    for (int first = 0; first < leaves; first += width)
        for (int p = 0; p < PARAMS; p++)
            group(l, p, first, width);
}

static int is_tree(int leaves, int width) {
    struct lab l;
    int wrong = 0;
    fill();
    open_lab(&l, leaves, width);
    for (int step = 0; step < 2; step++) { /* the second step reuses what the first left behind */
        run(&l, leaves, width);
        wrong += differs(&l, leaves, defined_root);
        fill();
    }
    close_lab(&l);
    return wrong == 0;
}

static void test_tree(void **unused) {
    (void)unused;
    for (int leaves = 1; leaves <= MOST_LEAVES; leaves += leaves < 17 ? 1 : leaves < 32 ? 3 : 13)
        for (int width = 1; width <= leaves; width *= 2)
            if (leaves % width == 0 && !is_tree(leaves, width))
                fail_msg("%d leaves, %d at a time: not the tree", leaves, width);
}

/* Widths that are no power of two leave more unfinished nodes behind a group: 6 leaves, 3 at a time, leave
 * two (0-1 and 2). The library asserts when buffers do not suffice, so each shape runs in a process of its
 * own. */
static void test_odd_widths(void **unused) {
    (void)unused;
    for (int leaves = 3; leaves <= 24; leaves++)
        for (int width = 3; width <= leaves; width++) {
            if (leaves % width || (width & (width - 1)) == 0)
                continue;
            int status = -1;
            pid_t child = fork();
            if (child == 0)
                _exit(is_tree(leaves, width) ? 0 : 1);
            assert_true(child > 0 && waitpid(child, &status, 0) == child);
            if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
                fail_msg("%d leaves, %d at a time: %s", leaves, width,
                         WIFSIGNALED(status) ? "aborted" : "not the tree");
        }
}

/* How many buffers there are does not show, nor does the width: the same leaves give the same root. */
static void test_width_does_not_show(void **unused) {
    (void)unused;
    static const int widths[] = {1, 2, 4, 8, 16};
    fill();
    for (size_t k = 0; k < 5; k++) {
        struct lab l;
        open_lab(&l, 16, widths[k]);
        run(&l, 16, widths[k]);
        assert_int_equal(differs(&l, 16, defined_root), 0);
        close_lab(&l);
    }
}

static void test_in_turn_differs(void **unused) {
    (void)unused;
    fill();
    for (int leaves = 1; leaves <= 17; leaves++) {
        struct lab l;
        open_lab(&l, leaves, 1);
        run(&l, leaves, 1);
        if (leaves > 3) /* of 1, 2 and 3 leaves the two are the same sum */
            assert_true(differs(&l, leaves, in_turn) > 0);
        l.tree.in_turn = 1; /* planted */
        run(&l, leaves, 1);
        assert_int_equal(differs(&l, leaves, in_turn), 0);
        if (leaves > 3)
            assert_true(differs(&l, leaves, defined_root) > 0);
        close_lab(&l);
    }
}

/* Lanes of one leaf: the odd ones are added to the node that waits: a buffer's write and a join less. */
static void test_lanes_of_one_leaf(void **unused) {
    (void)unused;
    for (int leaves = 1; leaves <= 17; leaves++) {
        struct lab l;
        fill();
        for (int p = 0; p < PARAMS; p++)
            for (int lane = 0; lane < MOST_LEAVES; lane++)
                memset(leaf[p][lane][1], 0, sizeof leaf[p][lane][1] * (ROUNDS - 1));
        open_lab(&l, leaves, 1);
        l.rounds = 1;
        sy_tree_begin(&l.tree);
        int joins = 0, straight = 0;
        for (int lane = 0; lane < leaves; lane++) {
            struct sy_tree_join list[SY_TREE_LEVELS];
            struct sy_tree_sum to = sy_tree_lane(&l.tree, 0, lane, 1);
            straight += !to.fresh;
            for (int i = 0; i < WIDE; i++)
                to.sum[i] = to.fresh ? leaf[0][lane][0][i] : to.sum[i] + leaf[0][lane][0][i];
            int n = sy_tree_finish(&l.tree, 0, lane, list);
            joins += n;
            for (int k = 0; k < n; k++)
                for (int i = 0; i < WIDE; i++)
                    list[k].to[i] = list[k].to[i] + list[k].from[i];
        }
        assert_int_equal(straight, leaves / 2);
        assert_int_equal(joins + straight, leaves - 1);
        const float *root = sy_tree_root(&l.tree, 0);
        for (int i = 0; i < WIDE; i++)
            assert_true(root[i] == defined_root(0, leaves, i));
        close_lab(&l);
    }
}

/* A parameter's sums stay in its own range. */
static void test_neighbours(void **unused) {
    (void)unused;
    struct lab l;
    fill();
    open_lab(&l, 8, 2);
    sy_tree_begin(&l.tree);
    for (int first = 0; first < 8; first += 2)
        group(&l, 1, first, 2);
    for (int b = 0; b < l.tree.n_buffers; b++)
        for (int64_t i = 0; i < l.tree.n; i++)
            if (i < l.tree.at[1] || i >= l.tree.at[1] + WIDE)
                assert_true(isnan(l.tree.buffer[b][i]));
    close_lab(&l);
}

/* --- lanes of some ranks, in any order ------------------------------------------------------------------ */

/* What is left of the lanes first .. first + n - 1: the aligned blocks within them that are in no larger one,
 * by trying every block. A block that reaches beyond the last lane has the lanes that there are. */
static int defined_nodes(int leaves, int first, int n, struct sy_tree_node *out) {
    int levels = 0, found = 0;
    while ((1 << levels) < leaves)
        levels++;
    for (int lane = first; lane < first + n;) {
        int level = levels, size, end;
        for (;; level--) {
            size = 1 << level;
            end = lane + size < leaves ? lane + size : leaves;
            if (lane % size == 0 && end <= first + n)
                break;
        }
        out[found++] = (struct sy_tree_node){level, lane / size};
        lane = end;
    }
    return found;
}

static void test_nodes_of(void **unused) {
    (void)unused;
    for (int leaves = 1; leaves <= 40; leaves++)
        for (int first = 0; first < leaves; first++)
            for (int n = 0; first + n <= leaves; n++) {
                struct sy_tree_node got[SY_TREE_MAX_NODES], want[SY_TREE_MAX_NODES];
                int many = sy_tree_maximal(leaves, first, n, got), lane = first;
                assert_int_equal(many, defined_nodes(leaves, first, n, want));
                for (int i = 0; i < many; i++) {
                    struct sy_tree_run lanes = sy_tree_lanes_of(leaves, got[i]);
                    assert_int_equal(got[i].level, want[i].level);
                    assert_int_equal(got[i].index, want[i].index);
                    assert_int_equal(lanes.first, lane);
                    lane += lanes.n;
                }
                assert_int_equal(lane, first + n);
            }
}

/* A rank's lanes, whole groups of `width`, while others come between: a run's next group begins when the one
 * before has finished. */
struct stream {
    struct sy_tree_run run;
    int done, open; /* lanes that have finished; that have begun */
    int order[MOST_LEAVES];
    int finished[MOST_LEAVES]; /* of the group in progress */
};

static void begin_group(struct lab *l, struct stream *s, int p, int width) {
    int n = s->run.n - s->done < width ? s->run.n - s->done : width;
    for (int j = 0; j < l->rounds; j++)
        for (int k = 0; k < n; k++)
            add_leaf(l, p, s->run.first + s->done + k, j);
    shuffle(n, s->order);
    s->open = n;
}

/* One event of one stream; 0: it has come to its end. */
static int move_on(struct lab *l, struct stream *s, int p, int width, int *in_group) {
    if (s->open == 0 && s->done == s->run.n)
        return 0;
    if (s->open == 0) {
        begin_group(l, s, p, width);
        *in_group = 0;
    } else {
        finish(l, p, s->run.first + s->done + s->order[(*in_group)++]);
        if (*in_group == s->open) {
            s->done += s->open;
            s->open = 0;
        }
    }
    return 1;
}

/* Runs cut out of `leaves` lanes; those of `mine` only come here. Counts what differs from the nodes that the
 * definition gives. */
static int streams_differ(int leaves, int width, int n_runs, const struct sy_tree_run *runs, int rounds) {
    struct lab l;
    struct stream s[8];
    int in_group[8], left = n_runs, wrong = 0;
    struct sy_tree_shape shape = {leaves, width, runs, n_runs};
    open_shape(&l, &shape);
    l.rounds = rounds;
    for (int step = 0; step < 2; step++) {
        sy_tree_begin(&l.tree);
        for (int p = 0; p < PARAMS; p++) {
            for (int i = 0; i < n_runs; i++)
                s[i] = (struct stream){.run = runs[i]};
            for (left = 1; left > 0;) {
                left = 0;
                for (int tries = 0; tries < 3 * n_runs; tries++) { /* one after the other, by chance */
                    int i = below(n_runs);
                    left += move_on(&l, &s[i], p, width, &in_group[i]);
                }
                for (int i = 0; i < n_runs; i++)
                    left += s[i].open > 0 || s[i].done < s[i].run.n;
            }
            for (int i = 0; i < n_runs;) { /* runs that touch are one */
                struct sy_tree_run all = runs[i];
                struct sy_tree_node node[SY_TREE_MAX_NODES];
                for (i++; i < n_runs && runs[i].first == all.first + all.n; i++)
                    all.n += runs[i].n;
                int n = sy_tree_maximal(leaves, all.first, all.n, node);
                for (int k = 0; k < n; k++) {
                    const float *sum = sy_tree_node(&l.tree, p, node[k]);
                    for (int e = 0; e < WIDE; e++)
                        wrong += !(sum && sum[e] == defined_node(p, node[k].index << node[k].level,
                                                                 1 << node[k].level, leaves, e));
                }
                if (all.n == leaves)
                    wrong += sy_tree_root(&l.tree, p) == NULL;
                else
                    wrong += sy_tree_root(&l.tree, p) != NULL;
            }
        }
    }
    close_lab(&l);
    return wrong;
}

/* Whole steps and parts of them, dealt to 1..5 ranks in whole groups, unevenly. */
static void test_streams(void **unused) {
    (void)unused;
    for (int round = 0; round < 400; round++) {
        int width = 1 + below(3), groups = 1 + below(12), leaves = width * groups, rounds = 1 + below(ROUNDS);
        int many = 1 + below(groups < 5 ? groups : 5), first = 0, n_runs = 0;
        struct sy_tree_run runs[8];
        fill();
        for (int p = 0; p < PARAMS; p++)
            for (int lane = 0; lane < MOST_LEAVES; lane++)
                memset(&leaf[p][lane][rounds - 1][0] + WIDE, 0,
                       sizeof leaf[p][lane][0] * (size_t)(ROUNDS - rounds));
        for (int i = 0; i < many; i++) {
            int left = groups - first - (many - 1 - i), n = i == many - 1 ? left : 1 + below(left);
            if (many == 1 || below(4)) /* some lanes do not come here */
                runs[n_runs++] = (struct sy_tree_run){first * width, n * width};
            first += n;
        }
        if (n_runs > 0 && streams_differ(leaves, width, n_runs, runs, rounds))
            fail_msg("round %d: %d lanes, %d at a time, %d runs from %d on: not the tree", round, leaves,
                     width, n_runs, runs[0].first);
    }
}

/* A rank with a part of a group: its lanes are all in progress at once. */
static void test_part_of_a_group(void **unused) {
    (void)unused;
    for (int leaves = 2; leaves <= 12; leaves++)
        for (int first = 0; first < leaves; first++)
            for (int n = 1; first + n <= leaves; n++) {
                struct sy_tree_run run = {first, n};
                fill();
                assert_int_equal(streams_differ(leaves, n, 1, &run, ROUNDS), 0);
            }
}

static sy_status buffers(int leaves, int width, int *n) {
    return sy_tree_buffers(&(struct sy_tree_shape){.leaves = leaves, .width = width}, n);
}

static void test_shape(void **unused) {
    (void)unused;
    static const struct sy_tree_run quarters[] = {{0, 2}, {2, 2}, {4, 2}, {6, 2}}, part = {5, 3};
    int n = -1;
    /* each of four ranks has a lane in progress and one that waits for it */
    assert_int_equal(sy_tree_buffers(&(struct sy_tree_shape){8, 1, quarters, 4}, &n), SY_OK);
    assert_int_equal(n, 8);
    /* lanes 5, 6 and 7: a sum of one, and of one and then two */
    assert_int_equal(sy_tree_buffers(&(struct sy_tree_shape){8, 1, &part, 1}, &n), SY_OK);
    assert_int_equal(n, 3);
    n = -1;
    assert_int_equal(buffers(1, 1, &n), SY_OK);
    assert_int_equal(n, 1);
    assert_int_equal(buffers(8, 8, &n), SY_OK);
    assert_int_equal(n, 8);
    assert_int_equal(buffers(8, 1, &n), SY_OK);
    assert_int_equal(n, 4);
    assert_int_equal(buffers(1 << 16, 1, &n), SY_OK);
    assert_int_equal(n, 17);
    n = -1;
    assert_int_equal(buffers(1 << 16, 64, &n), SY_ERR_USAGE); /* 74 buffers */
    assert_int_equal(n, -1);
    assert_non_null(strstr(sy_error_message(), "74"));
    assert_non_null(strstr(sy_error_message(), "64"));
    assert_non_null(strstr(sy_error_message(), "65536"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tree),
        cmocka_unit_test(test_width_does_not_show),
        cmocka_unit_test(test_in_turn_differs),
        cmocka_unit_test(test_lanes_of_one_leaf),
        cmocka_unit_test(test_neighbours),
        cmocka_unit_test(test_shape),
        cmocka_unit_test(test_nodes_of),
        cmocka_unit_test(test_streams),
        cmocka_unit_test(test_part_of_a_group),
        cmocka_unit_test(test_odd_widths),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
