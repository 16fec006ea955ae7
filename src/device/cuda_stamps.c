/* When the stream came to a place: events with times, for traces. See cuda.h. */
#include <stdlib.h>

#include "base/clock.h"
#include "device/cuda_state.h"

/* Room for another event, made as it is needed first. */
static int has_event(struct sy_cuda_stamps *s) {
    if (s->n < s->made)
        return 1;
    if (s->made == s->capacity) {
        int64_t capacity = 2 * s->capacity + 1024;
        cudaEvent_t *larger = realloc(s->event, (size_t)capacity * sizeof *larger);
        if (!larger)
            return 0;
        s->event = larger;
        s->capacity = capacity;
    }
    if (cudaEventCreate(&s->event[s->made]) != cudaSuccess) {
        cudaGetLastError();
        return 0;
    }
    s->made++;
    return 1;
}

int64_t sy_device_cuda_stamp(const struct sy_device *d) {
    struct sy_cuda *g = sy_cuda_of(d);
    if (!sy_device_cuda_is(d) || g->graph.recording)
        return -1;
    cudaSetDevice(g->ordinal);
    if (!has_event(&g->stamps))
        return -1;
    sy_cuda_check(d, cudaEventRecord(g->stamps.event[g->stamps.n], g->stream), "a stamp");
    return g->stamps.n++;
}

void sy_device_cuda_stamps_begin(const struct sy_device *d) {
    if (!sy_device_cuda_is(d))
        return;
    struct sy_cuda *g = sy_cuda_of(d);
    g->stamps.n = 0;
    cudaSetDevice(g->ordinal);
    cudaStreamSynchronize(g->stream); /* its failure is the next wait's to say */
    if (sy_device_cuda_stamp(d) == 0)
        cudaEventSynchronize(g->stamps.event[0]);
    g->stamps.zero = sy_clock();
}

int sy_device_cuda_stamped(const struct sy_device *d, int64_t stamp, double *seconds) {
    float ms;
    if (!sy_device_cuda_is(d))
        return 0;
    const struct sy_cuda_stamps *s = &sy_cuda_of(d)->stamps;
    if (stamp < 0 || stamp >= s->n ||
        cudaEventElapsedTime(&ms, s->event[0], s->event[stamp]) != cudaSuccess) {
        cudaGetLastError();
        return 0;
    }
    *seconds = s->zero + (double)ms * 1e-3;
    return 1;
}

void sy_cuda_stamps_fini(struct sy_cuda *g) {
    for (int64_t i = 0; i < g->stamps.made; i++)
        cudaEventDestroy(g->stamps.event[i]);
    free(g->stamps.event);
    g->stamps = (struct sy_cuda_stamps){0};
}
