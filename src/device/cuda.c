/* An NVIDIA GPU as a device: memory, copies and waiting by the CUDA runtime, on one stream. See cuda.h.
 *
 * Nothing here or in an op fails at once: a launch or copy that goes wrong leaves its line in `error`, what
 * follows does nothing useful, and the next wait says the line.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "device/cuda_state.h"

enum { MAJOR = 9, MINOR = 0 }; /* what the kernels are built for: sm_90a runs on nothing else */

void sy_cuda_refuse(const struct sy_device *d, const char *fmt, ...) {
    struct sy_cuda *g = sy_cuda_of(d);
    if (g->error[0])
        return;
    va_list args;
    va_start(args, fmt);
    vsnprintf(g->error, sizeof g->error, fmt, args);
    va_end(args);
}

void sy_cuda_check(const struct sy_device *d, cudaError_t e, const char *what) {
    if (e != cudaSuccess)
        sy_cuda_refuse(d, "%s: %s", what, cudaGetErrorString(e));
}

void sy_cuda_launched(const struct sy_device *d, const char *op) {
    sy_cuda_of(d)->counts.launches++;
    sy_cuda_check(d, cudaGetLastError(), op);
}

/* --- the functions of a device -------------------------------------------------------------------------- */

static void *take(const struct sy_device *d, enum sy_place place, size_t bytes) {
    struct sy_cuda *g = sy_cuda_of(d);
    void *p = NULL;
    if (place == SY_PLACE_HOST)
        return sy_device_cpu()->alloc(sy_device_cpu(), place, bytes);
    cudaSetDevice(g->ordinal);
    if (place == SY_PLACE_PINNED) {
        if (cudaHostAlloc(&p, bytes, cudaHostAllocDefault) == cudaSuccess)
            memset(p, 0, bytes);
    } else if (cudaMalloc(&p, bytes) == cudaSuccess) {
        sy_cuda_check(d, cudaMemsetAsync(p, 0, bytes, g->stream), "clearing new memory");
    }
    cudaGetLastError(); /* the caller says that there is no memory */
    return p;
}

static void give(const struct sy_device *d, enum sy_place place, void *memory, size_t bytes) {
    if (place == SY_PLACE_HOST) {
        sy_device_cpu()->free(sy_device_cpu(), place, memory, bytes);
        return;
    }
    cudaSetDevice(sy_cuda_of(d)->ordinal);
    if (place == SY_PLACE_PINNED)
        cudaFreeHost(memory);
    else
        cudaFree(memory);
}

static void copy(const struct sy_device *d, void *to, const void *from, size_t bytes) {
    struct sy_cuda *g = sy_cuda_of(d);
    if (!bytes)
        return;
    cudaSetDevice(g->ordinal);
    sy_cuda_check(d, cudaMemcpyAsync(to, from, bytes, cudaMemcpyDefault, g->stream), "a copy");
}

static sy_status done(const struct sy_device *d) {
    struct sy_cuda *g = sy_cuda_of(d);
    cudaSetDevice(g->ordinal);
    double begin = sy_clock();
    cudaError_t e = cudaStreamSynchronize(g->stream);
    g->counts.waits++;
    g->counts.waited += sy_clock() - begin;
    if (e != cudaSuccess && !g->error[0])
        sy_cuda_refuse(d, "in an op or copy before this point: %s", cudaGetErrorString(e));
    if (!g->error[0])
        return SY_OK;
    sy_status status = sy_fail(SY_ERR_RUNTIME, "%s: %s", d->name, g->error);
    if (e == cudaSuccess)
        g->error[0] = 0; /* the GPU itself goes on */
    return status;
}

static void *itself(const struct sy_device *d, const void *p) {
    (void)d;
    return (void *)(uintptr_t)p;
}

/* --- lists of the host's -------------------------------------------------------------------------------- */

void *sy_cuda_upload_to(const struct sy_device *d, const void *list, size_t bytes) {
    struct sy_cuda *g = sy_cuda_of(d);
    struct sy_cuda_ring *r = &g->ring;
    size_t room = (bytes + SY_CUDA_LIST_ALIGN - 1) / SY_CUDA_LIST_ALIGN * SY_CUDA_LIST_ALIGN;
    if (room > SY_CUDA_RING_PART) {
        sy_cuda_refuse(d, "a list of %zu bytes: at most %d fit", bytes, SY_CUDA_RING_PART);
        return NULL;
    }
    struct sy_cuda_list recorded = sy_cuda_graph_list(g, room);
    if (recorded.host)
        memcpy(recorded.host, list, bytes);
    if (g->graph.recording)
        return recorded.device;
    cudaSetDevice(g->ordinal);
    if (r->used + room > SY_CUDA_RING_PART) {
        sy_cuda_check(d, cudaEventRecord(r->done[r->part], g->stream), "upload");
        r->part = (r->part + 1) % SY_CUDA_RING_PARTS;
        r->used = 0;
        sy_cuda_check(d, cudaEventSynchronize(r->done[r->part]), "upload");
    }
    size_t at = (size_t)r->part * SY_CUDA_RING_PART + r->used;
    r->used += room;
    memcpy(r->host + at, list, bytes);
    sy_cuda_check(d, cudaMemcpyAsync(r->device + at, r->host + at, bytes, cudaMemcpyHostToDevice, g->stream),
                  "upload");
    return r->device + at;
}

static int ring_open(struct sy_cuda *g) {
    size_t bytes = (size_t)SY_CUDA_RING_PARTS * SY_CUDA_RING_PART;
    g->ring.host = take(&g->device, SY_PLACE_PINNED, bytes);
    g->ring.device = take(&g->device, SY_PLACE_DEVICE, bytes);
    for (int i = 0; i < SY_CUDA_RING_PARTS; i++)
        if (cudaEventCreateWithFlags(&g->ring.done[i], cudaEventDisableTiming) != cudaSuccess)
            return 0;
    return g->ring.host && g->ring.device;
}

static void ring_close(struct sy_cuda *g) {
    for (int i = 0; i < SY_CUDA_RING_PARTS; i++)
        if (g->ring.done[i])
            cudaEventDestroy(g->ring.done[i]);
    if (g->ring.host)
        cudaFreeHost(g->ring.host);
    if (g->ring.device)
        cudaFree(g->ring.device);
}

/* --- which GPUs there are ------------------------------------------------------------------------------- */

int sy_device_cuda_count(const char **why) {
    int n = 0, driver = 0;
    cudaDriverGetVersion(&driver);
    cudaError_t e = cudaGetDeviceCount(&n);
    *why = e == cudaSuccess ? "the driver shows none" : !driver ? "no NVIDIA driver" : cudaGetErrorString(e);
    cudaGetLastError();
    return e == cudaSuccess ? n : 0;
}

static void print_uuid(const unsigned char *u, char *out, size_t bytes) {
    size_t at = (size_t)snprintf(out, bytes, "GPU-");
    for (int i = 0; i < 16 && at + 3 < bytes; i++)
        at += (size_t)snprintf(out + at, bytes - at, "%s%02x",
                               i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "", u[i]);
}

sy_status sy_device_cuda_about(int ordinal, struct sy_cuda_about *out) {
    struct cudaDeviceProp p;
    const char *why;
    int n = sy_device_cuda_count(&why);
    *out = (struct sy_cuda_about){0};
    if (n == 0)
        SY_FAIL(SY_ERR_UNAVAILABLE, "cuda:%d: no NVIDIA GPU is usable here: %s", ordinal, why);
    if (ordinal < 0 || ordinal >= n)
        SY_FAIL(SY_ERR_UNAVAILABLE, "cuda:%d: this machine's GPUs are cuda:0 to cuda:%d", ordinal, n - 1);
    cudaError_t e = cudaGetDeviceProperties(&p, ordinal);
    if (e != cudaSuccess)
        SY_FAIL(SY_ERR_UNAVAILABLE, "cuda:%d: %s", ordinal, cudaGetErrorString(e));
    snprintf(out->name, sizeof out->name, "%.120s", p.name);
    print_uuid((const unsigned char *)p.uuid.bytes, out->uuid, sizeof out->uuid);
    out->major = p.major;
    out->minor = p.minor;
    out->usable = p.major == MAJOR && p.minor == MINOR;
    out->multiprocessors = p.multiProcessorCount;
    out->memory = p.totalGlobalMem;
    cudaDriverGetVersion(&out->driver);
    cudaRuntimeGetVersion(&out->runtime);
    return SY_OK;
}

int sy_device_cuda_nth(int nth) {
    const char *why;
    int n = sy_device_cuda_count(&why), major, minor;
    for (int i = 0; i < n; i++)
        if (cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, i) == cudaSuccess &&
            cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, i) == cudaSuccess &&
            major == MAJOR && minor == MINOR && nth-- == 0)
            return i;
    return -1;
}

/* --- between GPUs --------------------------------------------------------------------------------------- */

void sy_device_cuda_meet(const struct sy_device *d, int other) {
    struct sy_cuda *g = sy_cuda_of(d);
    int can = 0;
    cudaSetDevice(g->ordinal);
    if (other >= 0 && other != g->ordinal &&
        cudaDeviceCanAccessPeer(&can, g->ordinal, other) == cudaSuccess && can)
        cudaDeviceEnablePeerAccess(other, 0);
    cudaGetLastError(); /* it was before, or copies go through the host */
}

sy_status sy_device_cuda_move(void *to, const void *from, size_t bytes) {
    cudaError_t e = cudaMemcpyAsync(to, from, bytes, cudaMemcpyDefault, cudaStreamPerThread);
    if (e == cudaSuccess)
        e = cudaStreamSynchronize(cudaStreamPerThread);
    if (e != cudaSuccess)
        SY_FAIL(SY_ERR_RUNTIME, "a copy of %zu bytes between GPUs: %s", bytes, cudaGetErrorString(e));
    return SY_OK;
}

/* --- creation ------------------------------------------------------------------------------------------- */

static void destroy(struct sy_device *d) {
    struct sy_cuda *g = sy_cuda_of(d);
    cudaSetDevice(g->ordinal);
    if (g->stream)
        cudaStreamSynchronize(g->stream);
    sy_cuda_forget(d);
    sy_cuda_stamps_fini(g);
    ring_close(g);
    if (g->stream)
        cudaStreamDestroy(g->stream);
    free((void *)(uintptr_t)d->name);
    free(g);
}

static sy_status begin(struct sy_cuda *g) {
    char name[32];
    snprintf(name, sizeof name, "cuda:%d", g->ordinal);
    g->device = (struct sy_device){.name = strdup(name),
                                   .segment = SY_CUDA_SEGMENT,
                                   .busy = SY_CUDA_BUSY,
                                   .busy_sums = SY_CUDA_BUSY_SUMS,
                                   .alloc = take,
                                   .free = give,
                                   .copy = copy,
                                   .wait = done,
                                   .alias = itself,
                                   .repeat = sy_cuda_repeat,
                                   .repeated = sy_cuda_repeated,
                                   .forget = sy_cuda_forget,
                                   .destroy = destroy,
                                   .state = g};
    cudaError_t e = cudaSetDevice(g->ordinal);
    if (e == cudaSuccess)
        e = cudaStreamCreateWithFlags(&g->stream, cudaStreamNonBlocking);
    if (e != cudaSuccess)
        SY_FAIL(SY_ERR_UNAVAILABLE, "run.device = %s: %s; is another program using all of it?", name,
                cudaGetErrorString(e));
    if (!g->device.name || !ring_open(g))
        SY_FAIL(SY_ERR_MEMORY, "run.device = %s: no memory for lists of ops (%d bytes)", name,
                SY_CUDA_RING_PARTS * SY_CUDA_RING_PART);
    return SY_OK;
}

sy_status sy_device_cuda_create(int ordinal, struct sy_device **out) {
    struct sy_cuda_about about;
    *out = NULL;
    if (ordinal < 0 && (ordinal = sy_device_cuda_first()) < 0)
        ordinal = 0; /* whose line says why not */
    sy_status status = sy_device_cuda_about(ordinal, &about);
    if (status != SY_OK)
        return sy_fail_context(status, "run.device = cuda");
    if (!about.usable)
        SY_FAIL(SY_ERR_UNAVAILABLE,
                "run.device = cuda:%d: %s has compute capability %d.%d, this build's kernels are for %d.%d "
                "(H100, H200): use run.device=cpu",
                ordinal, about.name, about.major, about.minor, MAJOR, MINOR);
    struct sy_cuda *g = calloc(1, sizeof *g);
    if (!g)
        SY_FAIL(SY_ERR_MEMORY, "run.device = cuda:%d: no memory", ordinal);
    g->ordinal = ordinal;
    g->about = about;
    status = begin(g);
    if (status == SY_OK)
        *out = &g->device;
    else
        destroy(&g->device);
    return status;
}

const struct sy_device *sy_device_cuda_planned(void) {
    static const struct sy_device planned = {
        .name = "cuda", .segment = SY_CUDA_SEGMENT, .busy = SY_CUDA_BUSY, .busy_sums = SY_CUDA_BUSY_SUMS};
    return &planned;
}

const struct sy_cuda_about *sy_device_cuda_is(const struct sy_device *d) {
    return d->wait == done ? &sy_cuda_of(d)->about : NULL;
}

struct sy_cuda_counts sy_device_cuda_counts(const struct sy_device *d) {
    return d->wait == done ? sy_cuda_of(d)->counts : (struct sy_cuda_counts){0};
}
