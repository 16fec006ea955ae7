/* The planted bugs: see plants.h. */
#include "train/plants.h"

#include <string.h>

#include "parallel/gradients.h"

static const struct sy_plant in_a_step[] = {
    {"experts_scaled",
     "gradients of experts are as many times too large as ranks share a stage's experts; shows when EP >= 2",
     NULL,
     {{"run.ranks", "2"}, {"parallelism.expert_parallel_degree", "2"}}},
    {"routes_twice",
     "recompute counts the routes of experts once more; shows when moe.load_balance_coeff > 0",
     NULL,
     {{"activation_checkpoint.mode", "full"}}},
    {"bias_local",
     "each rank moves the experts' biases by its own counts; shows when moe.load_balance_coeff > 0, on ranks "
     "with few tokens each",
     NULL,
     {{"run.ranks", "8"}}},
    {"clip_without_experts",
     "the norm that gradients are clipped by lacks the experts; shows when it is above training.max_norm",
     NULL,
     {{"training.max_norm", "0.01"}}},
    {"stale_weights",
     "gathered weights stay those of the first step; shows when shards are not resharded, from step 2 on",
     NULL,
     {{"run.ranks", "2"},
      {"parallelism.data_parallel_shard_degree", "2"},
      {"parallelism.fsdp_reshard_after_forward", "never"}}},
    {"place_lost",
     "each step reads the first one's tokens, as if a resume had lost the loader's place; shows when there "
     "are 2 steps",
     NULL,
     {{0}}},
    {"ties_higher",
     "of experts with equal scores the one of the higher id is chosen; shows when two rows of the gate are "
     "equal, as they are here",
     "equal_gate_rows",
     {{0}}},
    {"ranks_in_turn",
     "the sums of ranks are added one after another instead of in the tree; shows when a rank's lanes are no "
     "node of it, on 3 ranks",
     NULL,
     {{"run.ranks", "3"}}},
};

int sy_plant(int i, struct sy_plant *out) {
    int n = 0;
    for (; sy_gradients_plant(n); n++)
        if (n == i)
            *out = (struct sy_plant){sy_gradients_plant(n), sy_gradients_plant_about(n), NULL, {{0}}};
    if (i >= n && i < n + (int)(sizeof in_a_step / sizeof *in_a_step))
        *out = in_a_step[i - n];
    return i >= 0 && i < n + (int)(sizeof in_a_step / sizeof *in_a_step);
}

int sy_plant_is_known(const char *name) {
    struct sy_plant p;
    for (int i = 0; sy_plant(i, &p); i++)
        if (strcmp(p.name, name) == 0 || (p.data && strcmp(p.data, name) == 0))
            return 1;
    return 0;
}

int sy_plant_is(const struct sy_config *c, const char *name) { return strcmp(c->debug.break_, name) == 0; }
