/* The tensors of a checkpoint into a session: see restore.h. */
#include "train/restore.h"

#include "train/state_store.h"

static int same_tensors(const struct sy_params *from, const struct sy_params *to) {
    int same = from->n_tensors <= to->n_tensors;
    for (int i = 0; same && i < to->n_tensors; i++)
        same = i < from->n_tensors ? from->tensor[i].n == to->tensor[i].n &&
                                         sy_state_is_trained(from, i) == sy_state_is_trained(to, i)
                                   : !sy_state_is_trained(to, i);
    return same;
}

/* By their names in the checkpoint: one more buffer can change the family, and so every name. */
sy_status sy_restore(const struct sy_ckpt *ckpt, const struct sy_config *before, int moments,
                     struct sy_session *s, const struct sy_log *log) {
    struct sy_params *from;
    SY_TRY(sy_params_create(&before->model, &before->moe, &from));
    struct sy_ckpt_store store = sy_state_store(&s->state, &s->groups.world);
    struct sy_ckpt_target target = {.params = from, .store = &store, .moments = moments};
    sy_status status =
        same_tensors(from, s->params)
            ? sy_ckpt_load(ckpt, &target, log, NULL)
            : sy_fail(SY_ERR_RUNTIME, "%s: its %d tensors are not the first of this model's %d",
                      sy_ckpt_info(ckpt)->path, from->n_tensors, s->params->n_tensors);
    sy_params_destroy(from);
    return status;
}
