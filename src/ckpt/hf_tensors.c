/* Other names and shapes of the model's tensors in Hugging Face folders: see hf_tensors.h. */
#include "ckpt/hf_tensors.h"

#include <stdio.h>
#include <string.h>

int sy_hf_tensor_find(const struct sy_params *p, const char *name) {
    int low = 0, high = p->n_tensors;
    while (low < high) {
        int middle = low + (high - low) / 2, order = strcmp(name, p->tensor[p->by_name[middle]].name);
        if (order == 0)
            return p->by_name[middle];
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return -1;
}

/* The layer of "model.layers.<l>.mlp.<rest>" or of block_sparse_moe, and where <rest> begins; -1 if it is
 * none. */
static int layer_of(const struct sy_params *p, const char *name, const char **rest) {
    static const char *const blocks[] = {"mlp.", "block_sparse_moe."};
    int layer = -1, n = 0;
    if (sscanf(name, "model.layers.%9d.%n", &layer, &n) != 1 || n == 0 || name[13] < '0' ||
        layer >= p->n_layers)
        return -1;
    for (int i = 0; i < 2; i++) {
        size_t size = strlen(blocks[i]);
        if (strncmp(name + n, blocks[i], size) == 0) {
            *rest = name + n + size;
            return layer;
        }
    }
    return -1;
}

int sy_hf_tensor_alias(const struct sy_params *p, const char *name) {
    const char *rest;
    char other[128];
    int layer = layer_of(p, name, &rest);
    if (layer < 0 || strcmp(rest, "gate.weight") != 0)
        return -1;
    snprintf(other, sizeof other, "model.layers.%d.block_sparse_moe.gate.weight", layer);
    return sy_hf_tensor_find(p, other);
}

int sy_hf_tensor_is_fused(const struct sy_params *p, const char *name, struct sy_hf_fused *out) {
    const char *rest;
    int layer = layer_of(p, name, &rest), is_down = 0;
    if (layer < 0 || p->layer[layer].first_expert < 0)
        return 0;
    is_down = strcmp(rest, "experts.down_proj") == 0;
    if (!is_down && strcmp(rest, "experts.gate_up_proj") != 0)
        return 0;
    int first = 0, n = 0;
    while (p->tensor[first].param != p->layer[layer].first_expert)
        first++;
    for (int i = first; i < p->n_tensors; i++) {
        const struct sy_param *q = &p->param[p->tensor[i].param];
        if (q->kind != SY_PARAM_EXPERT || q->layer != layer)
            break;
        n++;
    }
    *out = (struct sy_hf_fused){first, n / 3, is_down};
    return 1;
}
