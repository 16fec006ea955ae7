/* The class's self-test: before a GPU computes a run it makes the products and attention of a few made-up
 * calls (ops/calls.h), and the CPU the same; a bit that differs refuses the GPU. Some tens of
 * milliseconds. */
#include <stdlib.h>

#include "ops/calls.h"
#include "train/session.h"

static const char *const tested[] = {"linear", "linear_dx", "linear_dw", "attention_fwd", "attention_bwd"};

static int op_of(const char *name) {
    for (int op = 0; op < sy_calls_n_ops(); op++)
        if (strcmp(sy_calls_op(op), name) == 0)
            return op;
    return 0;
}

static sy_status done(const struct sy_exec *x, int op, struct sy_call **out) {
    SY_TRY(sy_call_create(x, op, SY_CALL_TYPICAL, 1, out));
    sy_call_reset(x, *out);
    sy_call_run(x, *out);
    return sy_call_finish(x, *out);
}

static sy_status compare(const struct sy_exec *cpu, const struct sy_exec *gpu, int op) {
    struct sy_call *want = NULL, *got = NULL;
    char text[200] = "";
    sy_status status = done(cpu, op, &want);
    if (status == SY_OK)
        status = done(gpu, op, &got);
    if (status == SY_OK && sy_call_differs(got, want, text, sizeof text))
        status = sy_fail(SY_ERR_UNAVAILABLE,
                         "run.device = %s: this GPU does not have the bits of class %s: %s (the CPU); use "
                         "run.device=cpu",
                         gpu->device->name, sy_class_name(gpu->cls), text);
    sy_call_destroy(want);
    sy_call_destroy(got);
    return status;
}

sy_status sy_class_selftest(const struct sy_exec *gpu) {
    struct sy_device device = *sy_device_cpu(); /* with the GPU's segments */
    struct sy_exec cpu = {.device = &device, .scratch_bytes = sy_calls_scratch_bytes()};
    sy_exec_set_class(&cpu, gpu->cls);
    device.segment = gpu->device->segment;
    SY_TRY(sy_ops_select("auto", &cpu.ops));
    cpu.scratch = aligned_alloc(SY_ARENA_ALIGN, cpu.scratch_bytes);
    if (!cpu.scratch)
        SY_FAIL(SY_ERR_MEMORY, "run.device = %s: no memory for its self-test", gpu->device->name);
    sy_status status = SY_OK;
    for (size_t i = 0; i < sizeof tested / sizeof *tested && status == SY_OK; i++)
        status = compare(&cpu, gpu, op_of(tested[i]));
    free(cpu.scratch);
    return status;
}
