/* Which ranks a run has: from run.ranks, and from the variables of launchers, whole, missing or wrong; and
 * that a world of threads or of one rank is what was asked for, with its limit.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "comm/world.h"

static const char *const known[] = {"OMPI_COMM_WORLD_RANK",
                                    "OMPI_COMM_WORLD_SIZE",
                                    "OMPI_COMM_WORLD_LOCAL_RANK",
                                    "OMPI_COMM_WORLD_LOCAL_SIZE",
                                    "PMIX_RANK",
                                    "PMI_RANK",
                                    "PMI_SIZE",
                                    "SLURM_STEP_NUM_TASKS",
                                    "SLURM_NTASKS",
                                    "SLURM_LOCALID",
                                    "SLURM_STEP_TASKS_PER_NODE",
                                    "RANK",
                                    "WORLD_SIZE",
                                    "LOCAL_RANK",
                                    "LOCAL_WORLD_SIZE",
                                    "MASTER_ADDR",
                                    "MASTER_PORT"};

/* "A=1 B=2": these and none else. */
static void set(const char *variables) {
    char text[400], *rest = text;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        unsetenv(known[i]);
    snprintf(text, sizeof text, "%s", variables);
    for (char *word; (word = strtok_r(rest, " ", &rest)) != NULL;) {
        char *value = strchr(word, '=');
        *value = 0;
        setenv(word, value + 1, 1);
    }
}

#define MPIRUN                                                                    \
    "OMPI_COMM_WORLD_RANK=1 OMPI_COMM_WORLD_SIZE=4 OMPI_COMM_WORLD_LOCAL_RANK=1 " \
    "OMPI_COMM_WORLD_LOCAL_SIZE=2"
#define TORCH "RANK=3 WORLD_SIZE=8 LOCAL_RANK=1 LOCAL_WORLD_SIZE=2 "

static void places(void **state) {
    (void)state;
    static const struct {
        const char *variables;
        struct sy_launch place;
    } cases[] = {
        {"", {SY_LAUNCHER_NOBODY, 0, 1, 0, 1, NULL, 0}},
        {MPIRUN, {SY_LAUNCHER_MPIRUN, 1, 4, 1, 2, NULL, 0}},
        {MPIRUN " " TORCH, {SY_LAUNCHER_MPIRUN, 1, 4, 1, 2, NULL, 0}},
        {"PMIX_RANK=5 SLURM_STEP_NUM_TASKS=6 SLURM_NTASKS=60 SLURM_LOCALID=2 SLURM_STEP_TASKS_PER_NODE=3(x2)",
         {SY_LAUNCHER_SRUN, 5, 6, 2, 3, NULL, 0}},
        {"PMIX_RANK=5 SLURM_NTASKS=6", {SY_LAUNCHER_SRUN, 5, 6, 0, 1, NULL, 0}},
        {"PMI_RANK=1 PMI_SIZE=2 SLURM_STEP_NUM_TASKS=2", {SY_LAUNCHER_SRUN, 1, 2, 0, 1, NULL, 0}},
        {TORCH "MASTER_ADDR=node1 MASTER_PORT=29500", {SY_LAUNCHER_TORCHRUN, 3, 8, 1, 2, "node1", 29500}},
        {"RANK=0 WORLD_SIZE=1", {SY_LAUNCHER_TORCHRUN, 0, 1, 0, 1, NULL, 0}},
        {"WORLD_SIZE=8", {SY_LAUNCHER_NOBODY, 0, 1, 0, 1, NULL, 0}},
        {"SLURM_NTASKS=8", {SY_LAUNCHER_NOBODY, 0, 1, 0, 1, NULL, 0}}, /* the script of sbatch: no step */
        {"SLURM_STEP_NUM_TASKS=1", {SY_LAUNCHER_NOBODY, 0, 1, 0, 1, NULL, 0}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct sy_launch p, want = cases[i].place;
        set(cases[i].variables);
        assert_int_equal(sy_launcher_find(&p), SY_OK);
        if (p.launcher != want.launcher || p.rank != want.rank || p.size != want.size ||
            p.local_rank != want.local_rank || p.local_size != want.local_size || p.port != want.port ||
            !p.address != !want.address || (p.address && strcmp(p.address, want.address) != 0))
            fail_msg("%s: %s, rank %d of %d, local %d of %d", cases[i].variables,
                     sy_launcher_name(p.launcher), p.rank, p.size, p.local_rank, p.local_size);
    }
}

static void wrong_variables(void **state) {
    (void)state;
    static const struct {
        const char *variables, *says;
    } cases[] = {
        {"OMPI_COMM_WORLD_SIZE=4", "OMPI_COMM_WORLD_RANK is missing"},
        {"OMPI_COMM_WORLD_SIZE=4 OMPI_COMM_WORLD_RANK=4",
         "OMPI_COMM_WORLD_RANK = 4: must be a number in 0..3"},
        {"OMPI_COMM_WORLD_SIZE=0 OMPI_COMM_WORLD_RANK=0", "OMPI_COMM_WORLD_SIZE = 0: must"},
        {"PMIX_RANK=0", "SLURM_NTASKS is missing"},
        {"RANK=x WORLD_SIZE=2 MASTER_ADDR=a MASTER_PORT=1", "RANK = x: must be a number in 0..1"},
        {"RANK=99999999999999999999 WORLD_SIZE=2", "RANK = 99999999999999999999: must"},
        {"RANK=1 WORLD_SIZE=", "WORLD_SIZE is missing"},
        {TORCH "MASTER_PORT=1", "MASTER_ADDR is missing"},
        {TORCH "MASTER_ADDR=a", "MASTER_PORT is missing"},
        {TORCH "MASTER_ADDR=a MASTER_PORT=65536", "MASTER_PORT = 65536: must be a number in 1..65535"},
        {"SLURM_STEP_NUM_TASKS=2", "srun started 2 processes and gave them no PMI: use srun --mpi=pmix"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct sy_launch p;
        set(cases[i].variables);
        assert_int_equal(sy_launcher_find(&p), SY_ERR_USAGE);
        if (!strstr(sy_error_message(), cases[i].says))
            fail_msg("%s: %s", cases[i].variables, sy_error_message());
    }
}

static void how_many(void **state) {
    (void)state;
    struct sy_world_options o = {.ranks = 1, .launched = 1};
    struct sy_launch place;
    int ranks;
    set(MPIRUN);
    assert_int_equal(sy_world_size(&o, &ranks, &place), SY_OK);
    assert_true(ranks == 4 && place.rank == 1);
    o.ranks = 2;
    assert_int_equal(sy_world_size(&o, &ranks, NULL), SY_ERR_USAGE);
    assert_non_null(strstr(sy_error_message(), "run.ranks = 2, and mpirun started 4 processes"));
    o.launched = 0;
    assert_int_equal(sy_world_size(&o, &ranks, &place), SY_OK);
    assert_true(ranks == 2 && place.rank == 0 && place.size == 1);
    set("OMPI_COMM_WORLD_SIZE=1 OMPI_COMM_WORLD_RANK=0"); /* mpirun -n 1: threads are as good as anywhere */
    o.launched = 1;
    assert_int_equal(sy_world_size(&o, &ranks, NULL), SY_OK);
    assert_int_equal(ranks, 2);
    set("");
}

struct seen {
    atomic_int calls, sum;
    const char *name;
};

static sy_status look(const struct sy_comm *c, void *arg) {
    struct seen *seen = arg;
    atomic_fetch_add(&seen->calls, 1);
    atomic_fetch_add(&seen->sum, 10 * c->rank + c->size + (c->limit > 6 && c->limit < 8 ? 0 : 1000));
    if (c->rank == 0)
        seen->name = c->ops->name;
    SY_TRY(c->ops->agree(c, SY_OK));
    return c->rank == c->size - 1 ? sy_fail(SY_ERR_DATA, "the last of %d", c->size) : SY_OK;
}

static void worlds(void **state) {
    (void)state;
    struct sy_config *config;
    set("");
    assert_int_equal(sy_config_create(&config), SY_OK);
    assert_int_equal(sy_option_set(config, "comm.train_timeout_seconds", "7"), SY_OK);
    for (int ranks = 1; ranks <= 3; ranks += 2) {
        char text[16];
        snprintf(text, sizeof text, "%d", ranks);
        assert_int_equal(sy_option_set(config, "run.ranks", text), SY_OK);
        struct sy_world_options o = sy_world_options(config);
        assert_true(o.launched && o.init_limit > 299);
        struct seen seen = {0};
        assert_int_equal(sy_world_run(&o, look, &seen), SY_ERR_DATA);
        assert_non_null(strstr(sy_error_message(), "the last of"));
        assert_int_equal(seen.calls, ranks);
        assert_int_equal(seen.sum, ranks == 1 ? 1 : 30 + 9);
        assert_string_equal(seen.name, ranks == 1 ? "self" : "threads");
    }
    assert_int_equal(sy_option_set(config, "comm.launcher", "none"), SY_OK);
    assert_false(sy_world_options(config).launched);
    sy_config_destroy(config);
    struct sy_world_options none = {.ranks = 0, .launched = 1};
    assert_int_equal(sy_world_run(&none, look, NULL), SY_ERR_USAGE);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(places),
        cmocka_unit_test(wrong_variables),
        cmocka_unit_test(how_many),
        cmocka_unit_test(worlds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
