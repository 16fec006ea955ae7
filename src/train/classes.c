/* The numeric class of a configuration: see classes.h. */
#include "train/classes.h"

#include "device/cuda.h"

enum sy_numeric_class sy_config_numeric_class(const struct sy_config *config) {
    switch (config->numerics.class) {
    case SY_CLASS_AMX:
        return SY_NUMERIC_AMX;
    case SY_CLASS_SM90:
        return SY_NUMERIC_SM90;
    case SY_CLASS_FP32:
        return SY_NUMERIC_FP32;
    case SY_CLASS_X86:
    case SY_CLASS_AUTO: /* not after sy_config_finish */
        break;
    }
    return SY_NUMERIC_X86;
}

bool sy_hopper_here(void) { return sy_device_cuda_first() >= 0; }
