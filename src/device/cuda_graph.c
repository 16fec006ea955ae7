/* What a step enqueues, as a CUDA graph: a GPU that saw two steps enqueue the same does it by itself from then
 * on, with some launches.
 *
 *     step 1   enqueued, the bytes of its lists are counted (and what is allocated once is)
 *     step 2   recorded by stream capture, its lists in memory of the graph's own; launched as a graph
 *     step 3   the same; equal to step 2 in every kernel, argument, copy and list: the graph is kept
 *     step 4.. launched: the host enqueues nothing
 *
 * That steps are alike is compared, not presumed. If two of the first TRIES recordings in a row are not, no
 * further step is recorded. A recording that CUDA refuses enqueued nothing; its step is enqueued once more.
 *
 * A launch takes the host about a microsecond a node, in which the GPU would wait. So the graph is cut into parts
 * of 8, 16, 32, ... nodes: while the GPU does one, the host launches the next.
 */
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "device/cuda_state.h"

enum { TRIES = 5, FIRST_PART = 8 };

/* --- lists ---------------------------------------------------------------------------------------------- */

struct sy_cuda_list sy_cuda_graph_list(struct sy_cuda *g, size_t bytes) {
    struct sy_cuda_graph *t = &g->graph;
    size_t at = t->used;
    t->used += bytes;
    if (!t->recording || t->used > t->bytes)
        return (struct sy_cuda_list){NULL, NULL};
    return (struct sy_cuda_list){t->host + at, t->device + at};
}

static int take_lists(struct sy_cuda *g) {
    struct sy_cuda_graph *t = &g->graph;
    if (t->bytes)
        return 1;
    t->bytes = t->used + 4096;
    t->host = g->device.alloc(&g->device, SY_PLACE_PINNED, t->bytes);
    t->device = g->device.alloc(&g->device, SY_PLACE_DEVICE, t->bytes);
    return t->host && t->device;
}

/* --- whether two recordings are one --------------------------------------------------------------------- */

static void hash_add(uint64_t *h, const void *p, size_t bytes) {
    for (size_t i = 0; i < bytes; i += sizeof *h) {
        uint64_t word = 0;
        memcpy(&word, (const char *)p + i, bytes - i < sizeof word ? bytes - i : sizeof word);
        *h = sy_mix64(*h ^ word);
    }
}

static cudaError_t hash_kernel(cudaGraphNode_t node, uint64_t *h) {
    struct cudaKernelNodeParams k;
    size_t offset, size;
    cudaError_t e = cudaGraphKernelNodeGetParams(node, &k);
    if (e != cudaSuccess)
        return e;
    hash_add(h, &k.func, sizeof k.func);
    hash_add(h, &k.gridDim, sizeof k.gridDim);
    hash_add(h, &k.blockDim, sizeof k.blockDim);
    hash_add(h, &k.sharedMemBytes, sizeof k.sharedMemBytes);
    for (size_t i = 0; cudaFuncGetParamInfo(k.func, i, &offset, &size) == cudaSuccess; i++)
        hash_add(h, k.kernelParams[i], size);
    cudaGetLastError(); /* of the argument behind the last one */
    return cudaSuccess;
}

static cudaError_t hash_copy(cudaGraphNode_t node, uint64_t *h) {
    struct cudaMemcpy3DParms c;
    cudaError_t e = cudaGraphMemcpyNodeGetParams(node, &c);
    const void *at[2] = {c.srcPtr.ptr, c.dstPtr.ptr};
    hash_add(h, at, sizeof at);
    hash_add(h, &c.extent, sizeof c.extent);
    return e;
}

static cudaError_t hash_node(cudaGraphNode_t node, uint64_t *h) {
    enum cudaGraphNodeType type;
    struct cudaMemsetParams m = {0};
    cudaError_t e = cudaGraphNodeGetType(node, &type);
    if (e != cudaSuccess)
        return e;
    if (type == cudaGraphNodeTypeKernel)
        return hash_kernel(node, h);
    if (type == cudaGraphNodeTypeMemcpy)
        return hash_copy(node, h);
    if (type != cudaGraphNodeTypeMemset)
        return cudaErrorNotSupported; /* nothing else is enqueued */
    e = cudaGraphMemsetNodeGetParams(node, &m);
    hash_add(h, &m.dst, sizeof m.dst);
    hash_add(h, &m.value, sizeof m.value);
    hash_add(h, &m.width, sizeof m.width);
    return e;
}

/* The stream's work is a chain; its nodes come in the order in which they were recorded. */
static cudaError_t hash_of(const struct sy_cuda_graph *t, cudaGraph_t graph, uint64_t *h) {
    size_t n = 0;
    cudaError_t e = cudaGraphGetNodes(graph, NULL, &n);
    cudaGraphNode_t *node = n ? malloc(n * sizeof *node) : NULL;
    if (!node)
        return e != cudaSuccess ? e : cudaErrorInvalidValue;
    e = cudaGraphGetNodes(graph, node, &n);
    *h = 1;
    for (size_t i = 0; i < n && e == cudaSuccess; i++)
        e = hash_node(node[i], h);
    free(node);
    hash_add(h, t->host, t->used);
    return e;
}

/* --- recording ------------------------------------------------------------------------------------------ */

static void drop_exec(struct sy_cuda_graph *t) {
    while (t->parts > 0)
        cudaGraphExecDestroy(t->exec[--t->parts]);
    t->ready = 0;
}

/* Nodes first .. end - 1 of a graph's n, as one part. */
static cudaError_t make_part(struct sy_cuda_graph *t, cudaGraph_t graph, const cudaGraphNode_t *node,
                             size_t n, size_t first, size_t end) {
    cudaGraph_t part;
    cudaError_t e = cudaGraphClone(&part, graph);
    if (e != cudaSuccess)
        return e;
    for (size_t i = 0; i < n && e == cudaSuccess; i++) {
        cudaGraphNode_t copy;
        if (i >= first && i < end)
            continue;
        e = cudaGraphNodeFindInClone(&copy, node[i], part);
        if (e == cudaSuccess)
            e = cudaGraphDestroyNode(copy);
    }
    if (e == cudaSuccess)
        e = cudaGraphInstantiate(&t->exec[t->parts], part, 0);
    t->parts += e == cudaSuccess;
    cudaGraphDestroy(part);
    return e;
}

static cudaError_t make_exec(struct sy_cuda_graph *t, cudaGraph_t graph) {
    size_t n = 0, first = 0;
    cudaError_t e = cudaGraphGetNodes(graph, NULL, &n);
    cudaGraphNode_t *node = n ? malloc(n * sizeof *node) : NULL;
    if (!node)
        return e != cudaSuccess ? e : cudaErrorInvalidValue;
    e = cudaGraphGetNodes(graph, node, &n);
    while (first < n && e == cudaSuccess) {
        size_t part = (size_t)FIRST_PART << t->parts;
        int is_last = t->parts == SY_CUDA_GRAPH_PARTS - 1 || n - first <= part;
        e = make_part(t, graph, node, n, first, is_last ? n : first + part);
        first = is_last ? n : first + part;
    }
    free(node);
    return e;
}

void sy_cuda_forget(const struct sy_device *d) {
    struct sy_cuda *g = sy_cuda_of(d);
    struct sy_cuda_graph *t = &g->graph;
    cudaSetDevice(g->ordinal);
    drop_exec(t);
    if (t->host)
        cudaFreeHost(t->host);
    if (t->device)
        cudaFree(t->device);
    *t = (struct sy_cuda_graph){0};
}

static void launch(struct sy_cuda *g) {
    for (int i = 0; i < g->graph.parts; i++, g->counts.launches++)
        sy_cuda_check(&g->device, cudaGraphLaunch(g->graph.exec[i], g->stream), "a step as a graph");
}

int sy_cuda_repeat(const struct sy_device *d) {
    struct sy_cuda *g = sy_cuda_of(d);
    struct sy_cuda_graph *t = &g->graph;
    cudaSetDevice(g->ordinal);
    if (t->ready) {
        launch(g);
        return 1;
    }
    t->off |= t->seen > TRIES;
    if (t->seen++ > 0 && !t->off) {
        t->off = !take_lists(g);
        t->recording =
            !t->off && cudaStreamBeginCapture(g->stream, cudaStreamCaptureModeThreadLocal) == cudaSuccess;
        cudaGetLastError();
    }
    t->used = 0;
    return 0;
}

/* The recording as it came, launched for the first time. */
static cudaError_t play(struct sy_cuda *g, cudaGraph_t graph) {
    struct sy_cuda_graph *t = &g->graph;
    uint64_t hash = 0;
    cudaError_t e = t->used <= t->bytes ? hash_of(t, graph, &hash) : cudaErrorMemoryAllocation;
    if (e != cudaSuccess)
        return e;
    t->ready = t->parts > 0 && hash == t->hash;
    if (!t->ready) {
        drop_exec(t);
        e = make_exec(t, graph);
        t->hash = hash;
    }
    if (e != cudaSuccess)
        return e;
    sy_cuda_check(&g->device, cudaMemcpyAsync(t->device, t->host, t->used, cudaMemcpyHostToDevice, g->stream),
                  "lists of a graph");
    launch(g);
    return cudaSuccess;
}

int sy_cuda_repeated(const struct sy_device *d) {
    struct sy_cuda *g = sy_cuda_of(d);
    struct sy_cuda_graph *t = &g->graph;
    cudaGraph_t graph = NULL;
    if (!t->recording)
        return 1;
    cudaSetDevice(g->ordinal);
    t->recording = 0;
    cudaError_t e = cudaStreamEndCapture(g->stream, &graph);
    if (g->error[0]) /* an op's own failure: the next wait says it */
        e = cudaSuccess, drop_exec(t), t->off = 1;
    else if (e == cudaSuccess)
        e = play(g, graph);
    if (graph)
        cudaGraphDestroy(graph);
    cudaGetLastError();
    if (e == cudaSuccess)
        return 1;
    drop_exec(t);
    t->off = 1;
    return 0;
}
