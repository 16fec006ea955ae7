/* A GPU from the inside: for device/cuda.c and ops/cuda alone. */
#ifndef SY_DEVICE_CUDA_STATE_H
#define SY_DEVICE_CUDA_STATE_H

#include <cuda_runtime_api.h>

#include "device/cuda.h"

/* Lists of the host's on their way to the device: PARTS pieces of pinned memory, each with its copy in the
 * device's; a piece is used again when the ops that were enqueued with it are done. */
enum { SY_CUDA_RING_PARTS = 4, SY_CUDA_RING_PART = 4 << 20 };
enum { SY_CUDA_LIST_ALIGN = 64 }; /* of a list: it may have tensor maps */

/* What one step enqueued, as a graph in parts: see cuda_graph.c. */
enum { SY_CUDA_GRAPH_PARTS = 8 };
struct sy_cuda_graph {
    int off;       /* no two steps were alike: it is not tried again */
    int recording; /* the stream's work is recorded, lists go to `host` */
    int seen;      /* steps since forget */
    int ready;     /* exec is what a step enqueues */
    int parts;     /* of it, one behind the other */
    cudaGraphExec_t exec[SY_CUDA_GRAPH_PARTS];
    uint64_t hash;       /* of the last recording; 0: there is none */
    char *host, *device; /* lists of the host's: pinned, and their copy */
    size_t bytes, used;  /* of each; used: of the lists of the step under way */
};

struct sy_cuda {
    struct sy_device device;
    int ordinal;
    struct sy_cuda_about about;
    cudaStream_t stream;
    char error[400]; /* the first failure, said by the next wait; "" */
    struct sy_cuda_counts counts;
    struct sy_cuda_ring {
        char *host, *device;
        cudaEvent_t done[SY_CUDA_RING_PARTS];
        int part;
        size_t used; /* of the part */
    } ring;
    struct sy_cuda_graph graph;
    struct sy_cuda_stamps { /* [0]: of `zero` of the host's clock; kept from step to step */
        cudaEvent_t *event;
        int64_t n, made, capacity;
        double zero;
    } stamps;
};

static inline struct sy_cuda *sy_cuda_of(const struct sy_device *d) { return (struct sy_cuda *)d->state; }

/* Local. Keeps the first failure for `wait`: printf. */
void sy_cuda_refuse(const struct sy_device *d, const char *fmt, ...) SY_PRINTF(2, 3);

/* Local. Keeps the error of the last launch, if it is the first. */
void sy_cuda_launched(const struct sy_device *d, const char *op);

/* Local. Keeps an error of CUDA's and what was done, if it is the first. */
void sy_cuda_check(const struct sy_device *d, cudaError_t e, const char *what);

/* Local. A copy of `bytes` bytes in the device's memory, for the ops that are enqueued next: valid for them
 * until sy_cuda_upload has given out SY_CUDA_RING_PART bytes more. Aligned to
 * SY_CUDA_LIST_ALIGN. NULL, with the failure kept, if it is longer than a part. */
void *sy_cuda_upload_to(const struct sy_device *d, const void *list, size_t bytes);

void sy_cuda_stamps_fini(struct sy_cuda *g);

/* Of struct sy_device. */
int sy_cuda_repeat(const struct sy_device *d);
int sy_cuda_repeated(const struct sy_device *d);
void sy_cuda_forget(const struct sy_device *d);

/* Local. Room for a list of a step that is recorded; also counts what a step's lists need. NULL: the list
 * goes through the ring, or (recording) there is no room, and the recording will be dropped. */
struct sy_cuda_list {
    char *host, *device;
};
struct sy_cuda_list sy_cuda_graph_list(struct sy_cuda *g, size_t bytes);

#endif
