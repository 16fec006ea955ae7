/* Chrome's trace events: see timeline.h. */
#include "train/timeline.h"

#include <errno.h>
#include <stdlib.h>

#include "base/threads.h"
#include "device/cuda.h"

enum { BUFFER = 1 << 20 };

/* --- the file ------------------------------------------------------------------------------------------- */

static int pid_of(const struct sy_timeline *t) { return 1 + t->rank; }
static int tid_of(const struct sy_timeline *t, int thread) { return SY_TIMELINE_RANK * t->rank + 1 + thread; }

static void name_of(struct sy_timeline *t, const char *what, int thread, const char *name) {
    fprintf(t->file, "%s{\"ph\":\"M\",\"name\":\"%s\",\"pid\":%d,\"tid\":%d,\"args\":{\"name\":\"%s\"}}\n",
            t->events++ ? "," : "", what, pid_of(t), tid_of(t, thread), name);
}

static void order_of(struct sy_timeline *t, int thread) {
    fprintf(t->file,
            ",{\"ph\":\"M\",\"name\":\"thread_sort_index\",\"pid\":%d,\"tid\":%d,"
            "\"args\":{\"sort_index\":%d}}\n",
            pid_of(t), tid_of(t, thread), thread);
}

static void names(struct sy_timeline *t) {
    char name[64];
    snprintf(name, sizeof name, "rank %d", t->rank);
    name_of(t, "process_name", 0, name);
    fprintf(t->file,
            ",{\"ph\":\"M\",\"name\":\"process_sort_index\",\"pid\":%d,\"tid\":%d,\"args\":{\"sort_index\":%"
            "d}}\n",
            pid_of(t), tid_of(t, 0), t->rank);
    name_of(t, "thread_name", 0, t->stream ? "host (ops: when they were enqueued)" : "thread 0");
    order_of(t, 0);
    for (int i = 1; i < sy_pool_size(t->exec->pool) && !t->stream; i++) {
        snprintf(name, sizeof name, "thread %d", i);
        name_of(t, "thread_name", i, name);
        order_of(t, i);
    }
    if (t->stream) {
        name_of(t, "thread_name", SY_TIMELINE_STREAM, "stream of the GPU");
        order_of(t, SY_TIMELINE_STREAM);
    }
}

sy_status sy_timeline_open(const char *path, int rank, const struct sy_exec *exec, double zero,
                           struct sy_timeline *t) {
    *t = (struct sy_timeline){
        .rank = rank, .exec = exec, .zero = zero, .stream = sy_device_cuda_is(exec->device) != NULL};
    snprintf(t->path, sizeof t->path, "%s", path);
    t->file = fopen(path, "w");
    if (!t->file)
        SY_FAIL(SY_ERR_IO, "%s: cannot be written: %s", path, strerror(errno));
    setvbuf(t->file, NULL, _IOFBF, BUFFER);
    fputs("{\"displayTimeUnit\":\"ms\",\"traceEvents\":[\n", t->file);
    names(t);
    return SY_OK;
}

sy_status sy_timeline_close(struct sy_timeline *t) {
    FILE *f = t->file;
    free(t->pending);
    t->pending = NULL;
    t->n_pending = t->capacity = 0;
    t->file = NULL;
    if (!f)
        return SY_OK;
    fputs("]}\n", f);
    int bad = fflush(f) != 0 || ferror(f), why = errno;
    if (fclose(f) != 0 || bad)
        SY_FAIL(SY_ERR_IO, "%s: cannot be written: %s", t->path, strerror(bad ? why : errno));
    return SY_OK;
}

/* --- events --------------------------------------------------------------------------------------------- */

static void event(struct sy_timeline *t, const char *cat, const char *name, int thread, double begin,
                  double end) {
    t->events++;
    fprintf(t->file,
            ",{\"ph\":\"X\",\"cat\":\"%s\",\"name\":\"%s\",\"pid\":%d,\"tid\":%d,\"ts\":%.3f,\"dur\":%.3f",
            cat, name, pid_of(t), tid_of(t, thread), (begin - t->zero) * 1e6, (end - begin) * 1e6);
}

static void op_event(struct sy_timeline *t, const char *cat, const struct sy_timeline_op *o, double begin,
                     double end) {
    char text[SY_WORK_TEXT];
    event(t, cat, o->name, strcmp(cat, "op") == 0 && t->stream ? SY_TIMELINE_STREAM : 0, begin, end);
    fprintf(t->file, ",\"args\":{\"part\":\"%s\",\"shapes\":\"%s\",\"bytes\":%.0f", o->part,
            sy_work_text(&o->work, text), o->work.bytes);
    if (o->work.flops > 0)
        fprintf(t->file, ",\"flops\":%.0f", o->work.flops);
    if (o->work.planned)
        fputs(",\"rows\":\"planned: how many routing made stands on the device\"", t->file);
    fputs("}}\n", t->file);
}

void sy_timeline_span(struct sy_timeline *t, const char *name, double begin, double end, int64_t step) {
    if (!t->file)
        return;
    event(t, step >= 0 ? "step" : "span", name, 0, begin, end);
    if (step >= 0)
        fprintf(t->file, ",\"args\":{\"step\":%lld}", (long long)step);
    fputs("}\n", t->file);
}

void sy_timeline_phase(struct sy_timeline *t, const char *phase, double now) {
    if (phase && t->phase && strcmp(phase, t->phase) == 0)
        return;
    if (t->file && t->phase) {
        event(t, "phase", t->phase, 0, t->phase_began, now);
        fputs("}\n", t->file);
    }
    t->phase = phase;
    t->phase_began = now;
}

/* --- ops ------------------------------------------------------------------------------------------------ */

static struct sy_timeline_op *another(struct sy_timeline *t) {
    if (t->n_pending == t->capacity) {
        int64_t capacity = 2 * t->capacity + 1024;
        struct sy_timeline_op *larger = realloc(t->pending, (size_t)capacity * sizeof *larger);
        if (!larger)
            return NULL; /* this op has no times of the device */
        t->pending = larger;
        t->capacity = capacity;
    }
    return &t->pending[t->n_pending++];
}

void sy_timeline_op_begin(struct sy_timeline *t, const char *name) {
    t->op = name;
    if (!t->file || !t->stream)
        return;
    struct sy_timeline_op *o = another(t);
    if (o)
        *o = (struct sy_timeline_op){.name = name, .from = sy_device_cuda_stamp(t->exec->device), .to = -1};
}

void sy_timeline_op_end(struct sy_timeline *t, const char *part, const struct sy_op_work *work, double begin,
                        double end) {
    struct sy_timeline_op host = {.name = t->op, .part = part, .work = *work};
    if (t->file && t->stream && t->n_pending) {
        struct sy_timeline_op *o = &t->pending[t->n_pending - 1];
        o->to = sy_device_cuda_stamp(t->exec->device);
        o->part = part;
        o->work = *work;
    }
    if (t->file)
        op_event(t, t->stream ? "enqueue" : "op", &host, begin, end);
    t->op = NULL;
}

/* Of one run of the pool; thread 0's share is inside the op. */
static void shares(void *self, int n, const struct sy_pool_share *share) {
    struct sy_timeline *t = self;
    for (int i = 0; i < n && t->file; i++) {
        event(t, "thread", t->op ? t->op : "between ops", i, share[i].begin, share[i].end);
        fputs("}\n", t->file);
    }
}

/* The stream is empty: its clock is the host's now. */
void sy_timeline_step_begin(struct sy_timeline *t) {
    if (t->stream)
        sy_device_cuda_stamps_begin(t->exec->device);
    else
        sy_pool_watch(t->exec->pool, shares, t);
}

void sy_timeline_step_end(struct sy_timeline *t) {
    sy_pool_watch(t->exec->pool, NULL, NULL);
    for (int64_t i = 0; i < t->n_pending; i++) {
        const struct sy_timeline_op *o = &t->pending[i];
        double begin, end;
        if (sy_device_cuda_stamped(t->exec->device, o->from, &begin) &&
            sy_device_cuda_stamped(t->exec->device, o->to, &end))
            op_event(t, "op", o, begin, end);
    }
    t->n_pending = 0;
}
