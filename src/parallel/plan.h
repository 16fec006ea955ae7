/* What a run over ranks moves, computes and how long a step takes, from its numbers alone; nothing of it
 * runs. docs/PARALLELISM.md derives it. Memory is not here: it is measured by the code that takes it.
 *
 * Bytes are exact but for the rows of experts, which are those of a balanced router. Times are those of a
 * machine that is stated: products at a share of the peak, links at their speed, nothing overlapped but
 * what a schedule overlaps.
 */
#ifndef SY_PARALLEL_PLAN_H
#define SY_PARALLEL_PLAN_H

#include "model/params.h"
#include "parallel/mesh.h"
#include "parallel/schedule.h"

/* --- machines ------------------------------------------------------------------------------------------- */

struct sy_plan_gpu {
    const char *name;
    double peak;      /* FLOP/s of dense bf16 products */
    double memory;    /* bytes */
    double hbm;       /* bytes a second */
    double near, far; /* bytes a second that one rank sends within its node, and to others */
    int node;         /* ranks of a node */
    double products;  /* share of the peak that products reach */
    double attention; /* and that attention does, of its causal half */
    double latency;   /* seconds of a message */
};

/* Local. By name, or NULL; the i-th, NULL past the last. */
const struct sy_plan_gpu *sy_plan_gpu_find(const char *name);
const struct sy_plan_gpu *sy_plan_gpu_at(int i);

/* --- a plan --------------------------------------------------------------------------------------------- */

enum sy_traffic {
    SY_TRAFFIC_WEIGHTS,   /* stored weights and vectors, from their owners */
    SY_TRAFFIC_GRADIENTS, /* nodes of the tree, to the owners */
    SY_TRAFFIC_EXPERTS,   /* rows to experts and back */
    SY_TRAFFIC_STAGES,    /* the residual stream and its gradient */
    SY_TRAFFIC_KINDS
};
extern const char *const sy_traffic_names[SY_TRAFFIC_KINDS];

struct sy_plan_bytes {
    double sent; /* by a rank, in a step */
    double near; /* of these, to ranks of its node */
};

struct sy_plan {
    const struct sy_config *config;
    const struct sy_params *params;
    const struct sy_plan_gpu *gpu;
    struct sy_mesh mesh; /* of rank 0 */
    struct sy_schedule *schedule;
    int64_t batch; /* sequences of a micro-batch at most */
    double step;   /* seconds, of the slowest rank of each part: */
    double pipeline, weights, gradients, update;
    double bubble; /* share of the pipeline's time in which a rank has nothing to do, mean */
    struct sy_schedule_times *of_stage; /* [stages] nanoseconds */
    int *gathers;                       /* [pp, layers] */
};

/* Local. Errors: those of mesh and schedule; ERR_MEMORY. Owned by the caller; config and params outlive
 * it. */
sy_status sy_plan_create(const struct sy_config *config, const struct sy_params *params, int world,
                         const struct sy_plan_gpu *gpu, struct sy_plan **out);
void sy_plan_destroy(struct sy_plan *plan);

/* What a rank sends in a step. */
void sy_plan_sent(const struct sy_plan *plan, int rank, struct sy_plan_bytes out[SY_TRAFFIC_KINDS]);

/* Elements that a rank computes with, in its stages, and those whose masters it owns. */
struct sy_plan_elements {
    int64_t dense, experts; /* dense: vectors and the embedding included */
    int64_t own_dense, own_experts;
};
struct sy_plan_elements sy_plan_elements_of(const struct sy_plan *plan, int rank);

/* How often the shards of each layer [layers] are gathered in a step by a pipeline rank that has the
 * layer. */
void sy_plan_gathers(const struct sy_plan *plan, int pp_rank, int *gathered);

/* FLOPs of a stage's forward for one micro-batch; causal attention: half of all pairs. */
double sy_plan_forward_flops(const struct sy_plan *plan, int stage);

/* Micro-batches and sequences of a data-parallel rank. */
int64_t sy_plan_sequences(const struct sy_plan *plan, int dp_rank);

#endif
