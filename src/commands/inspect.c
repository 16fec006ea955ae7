/* switchyard inspect: a checkpoint folder or safetensors file as it is; of a run, its newest valid checkpoint. */
#include "ckpt/checkpoint.h"
#include "train/io.h"

sy_status sy_inspect(const char *path, const struct sy_io *io) {
    if (!sy_ckpt_any(path))
        return sy_ckpt_inspect(path, io->write, io->user);
    struct sy_log log = sy_io_log(io);
    struct sy_ckpt *ckpt;
    SY_TRY(sy_ckpt_find_latest(path, &log, &ckpt));
    sy_status status = sy_ckpt_inspect(sy_ckpt_info(ckpt)->path, io->write, io->user);
    sy_ckpt_close(ckpt);
    return status;
}
