/* A Hugging Face folder loaded into a flat buffer (lib/flat.h), its config read on the way. */
#ifndef TESTS_UNIT_HF_LOAD_H
#define TESTS_UNIT_HF_LOAD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "../lib/flat.h"

/* `digest` (may be NULL) is that of the model's tensors, one by one. */
static inline sy_status load_flat(const char *path, const struct sy_params *params, float *got,
                                  char digest[SY_DIGEST_CHARS]) {
    struct sy_ckpt *ckpt = NULL;
    struct sy_config *config = NULL;
    struct flat flat = {params, got};
    struct sy_ckpt_store store = {.self = &flat, .put = flat_put};
    struct sy_ckpt_target target = {.params = params, .store = &store};
    assert_int_equal(sy_config_create(&config), SY_OK);
    if (sy_ckpt_open(path, 0, &ckpt) != SY_OK || sy_ckpt_config(ckpt, 0, config) != SY_OK)
        fail_msg("%s", sy_error_message());
    sy_config_destroy(config);
    sy_status status = sy_ckpt_load(ckpt, &target, NULL, digest);
    sy_ckpt_close(ckpt);
    return status;
}

#endif
