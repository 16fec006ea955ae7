/* Variables of launchers: see launcher.h. */
#include "comm/launcher.h"

#include <stdlib.h>

enum { MAX_PROCESSES = 1 << 20, MAX_PORT = 65535 };

static const struct variables {
    const char *rank, *size, *size_else, *local, *locals;
} variables[] = {
    [SY_LAUNCHER_MPIRUN] = {"OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", NULL,
                            "OMPI_COMM_WORLD_LOCAL_RANK", "OMPI_COMM_WORLD_LOCAL_SIZE"},
    [SY_LAUNCHER_SRUN] = {"PMIX_RANK", "SLURM_STEP_NUM_TASKS", "SLURM_NTASKS", "SLURM_LOCALID",
                          "SLURM_STEP_TASKS_PER_NODE"},
    [SY_LAUNCHER_TORCHRUN] = {"RANK", "WORLD_SIZE", NULL, "LOCAL_RANK", "LOCAL_WORLD_SIZE"},
};
static const struct variables pmi = {"PMI_RANK", "PMI_SIZE", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID",
                                     "SLURM_STEP_TASKS_PER_NODE"};

const char *sy_launcher_name(enum sy_launcher launcher) {
    static const char *const names[] = {"nobody", "mpirun", "srun", "torchrun"};
    return names[launcher];
}

static sy_status number(const char *launcher, const char *name, int least, int most, int *out) {
    const char *text = getenv(name);
    if (!text || !*text)
        SY_FAIL(SY_ERR_USAGE, "%s's variable %s is missing: set it, or --comm.launcher=none for one process",
                launcher, name);
    char *end;
    long value = strtol(text, &end, 10);
    if (*end || value < least || value > most)
        SY_FAIL(SY_ERR_USAGE, "%s's variable %s = %s: must be a number in %d..%d", launcher, name, text,
                least, most);
    *out = (int)value;
    return SY_OK;
}

static sy_status read_place(const struct variables *v, enum sy_launcher launcher, struct sy_launch *out) {
    const char *name = sy_launcher_name(launcher),
               *size = getenv(v->size) || !v->size_else ? v->size : v->size_else;
    struct sy_launch place = {.launcher = launcher};
    SY_TRY(number(name, size, 1, MAX_PROCESSES, &place.size));
    SY_TRY(number(name, v->rank, 0, place.size - 1, &place.rank));
    if (getenv(v->local))
        SY_TRY(number(name, v->local, 0, place.size - 1, &place.local_rank));
    const char *locals = getenv(v->locals); /* of srun "4(x2),3": the first is the most */
    long n = locals ? strtol(locals, NULL, 10) : 1;
    place.local_size = n < 1 ? 1 : n > place.size ? place.size : (int)n;
    if (launcher == SY_LAUNCHER_TORCHRUN && place.size > 1) {
        place.address = getenv("MASTER_ADDR");
        if (!place.address || !*place.address)
            SY_FAIL(
                SY_ERR_USAGE,
                "torchrun's variable MASTER_ADDR is missing: the host of rank 0, as seen from the others");
        SY_TRY(number(name, "MASTER_PORT", 1, MAX_PORT, &place.port));
    }
    *out = place;
    return SY_OK;
}

/* A step of several processes without PMI: each would take itself for the only one. */
static sy_status check_srun(void) {
    int tasks = 1;
    if (getenv("SLURM_STEP_NUM_TASKS"))
        SY_TRY(number("srun", "SLURM_STEP_NUM_TASKS", 1, MAX_PROCESSES, &tasks));
    if (tasks > 1)
        SY_FAIL(
            SY_ERR_USAGE,
            "srun started %d processes and gave them no PMI: use srun --mpi=pmix, or --comm.launcher=none "
            "for processes that have nothing to do with each other",
            tasks);
    return SY_OK;
}

sy_status sy_launcher_find(struct sy_launch *out) {
    if (getenv("OMPI_COMM_WORLD_SIZE"))
        return read_place(&variables[SY_LAUNCHER_MPIRUN], SY_LAUNCHER_MPIRUN, out);
    if (getenv("PMIX_RANK"))
        return read_place(&variables[SY_LAUNCHER_SRUN], SY_LAUNCHER_SRUN, out);
    if (getenv("PMI_RANK"))
        return read_place(&pmi, SY_LAUNCHER_SRUN, out);
    if (getenv("RANK") && getenv("WORLD_SIZE"))
        return read_place(&variables[SY_LAUNCHER_TORCHRUN], SY_LAUNCHER_TORCHRUN, out);
    SY_TRY(check_srun());
    *out = (struct sy_launch){.launcher = SY_LAUNCHER_NOBODY, .size = 1, .local_size = 1};
    return SY_OK;
}
