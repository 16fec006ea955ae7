/* The mesh: which part of a run each rank has. A value made from a configuration and the number of ranks; a
 * pure function of numbers (NUMERICS 5).
 *
 *     rank    = pp_rank * dp + dp_rank                    a stage's ranks are neighbours
 *     dp_rank = edp_rank * ep + ep_rank                   so are those that share a stage's experts
 *             = replicate_rank * shard + shard_rank       and those that share its stored weights
 * edp_rank = expert_replicate_rank * expert_shard + expert_shard_rank: of the ranks with the same experts,
 * those
 *            of one shard group share them, if there are several
 *
 * Lanes. The P / F lane groups are dealt whole, contiguous, as evenly as it goes (the first get more), to the
 * edp expert-parallel groups. Inside one, to its ep ranks: with at least as many lane groups as ranks each
 * rank gets whole ones; with fewer, each lane group gets a contiguous run of ranks and its lanes are dealt
 * over them. So a rank has whole lane groups, or a part of one. What cannot be is refused.
 */
#ifndef SY_PARALLEL_MESH_H
#define SY_PARALLEL_MESH_H

#include "comm/comm.h"
#include "config/config.h"
#include "parallel/owner.h"

enum { SY_MESH_MOST_RANKS = 1 << 20 };

struct sy_mesh {
    int world, rank;
    int pp, dp, replicate, shard, ep, edp; /* world = pp dp; dp = replicate shard = edp ep */
    int expert_shard, expert_replicate;    /* edp = expert_replicate expert_shard */
    int pp_rank, dp_rank, replicate_rank, shard_rank, ep_rank, edp_rank;
    struct sy_stages stages; /* over all ranks: stage s is on pp_rank s mod pp */
    int lanes, expert_lanes;
    int64_t experts;
};

/* Local. Errors: ERR_USAGE says which of P, F, DP and EP do not fit and what to do. */
sy_status sy_mesh_create(const struct sy_config *config, int world, int rank, struct sy_mesh *mesh);

/* Local. One rank, whatever the configuration says of ranks. */
struct sy_mesh sy_mesh_alone(const struct sy_config *config);

/* Of any data-parallel rank (the same in every stage), expert-parallel rank, stage. An EP rank past the last
 * expert has none. */
struct sy_share sy_mesh_lanes(const struct sy_mesh *mesh, int dp_rank);
struct sy_share sy_mesh_experts(const struct sy_mesh *mesh, int ep_rank);
struct sy_share sy_mesh_layers(const struct sy_mesh *mesh, int stage);

/* The lane groups whose experts' gradients meet on the ranks of an expert-parallel group. */
struct sy_share sy_mesh_lane_groups(const struct sy_mesh *mesh, int edp_rank);

/* Which part of a tensor's blocks, of dp (edp) parts, a rank owns: those of a shard lie together, so that the
 * ranks that keep the same shard own it between them. */
int sy_mesh_dense_part(const struct sy_mesh *mesh, int dp_rank);
int sy_mesh_expert_part(const struct sy_mesh *mesh, int edp_rank);

/* What a rank of the world owns. */
struct sy_owner sy_mesh_owner(const struct sy_mesh *mesh, int rank);

/* Collective over the world. The groups of this rank, each in the order of the rank that it is named for; the
 * world's is a copy of `world`. Errors: ERR_MEMORY. sy_groups_destroy. */
sy_status sy_mesh_split(const struct sy_mesh *mesh, const struct sy_comm *world, struct sy_groups *groups);

#endif
