/* The three products and what packs their right-hand sides: nothing does, as both families read a matrix by
 * rows or by columns. */
#include "ops/cuda/products.cuh"

extern "C" void sy_cuda_pack(const struct sy_exec *x, const struct sy_pack *op) {
    if (op->groups && op->packed)
        sy_cuda_refuse(x->device, "pack: products of a GPU read no packed operand");
}

extern "C" void sy_cuda_linear(const struct sy_exec *x, const struct sy_linear *op) {
    if (sy_cuda_linear_gemm(x, op))
        return;
    sy_cuda_linear_any(x, op);
    if (op->epilogue == SY_EPILOGUE_SWIGLU)
        sy_cuda_swiglu_rows(x, op);
}

extern "C" void sy_cuda_linear_dx(const struct sy_exec *x, const struct sy_linear_dx *op) {
    int back = op->epilogue == SY_EPILOGUE_SWIGLU_BACK;
    if (back && sy_cuda_linear_dx_back_gemm(x, op))
        return;
    if (!sy_cuda_linear_dx_gemm(x, op))
        sy_cuda_linear_dx_any(x, op);
    if (back)
        sy_cuda_swiglu_back_rows(x, op);
}

extern "C" void sy_cuda_linear_dw(const struct sy_exec *x, const struct sy_linear_dw *op) {
    for (int i = 0; i < op->n_problems;) {
        int done = sy_cuda_linear_dw_list(x, &op->problem[i], op->n_problems - i);
        if (done == 0 && !(done = sy_cuda_linear_dw_gemm(x, &op->problem[i]))) {
            struct sy_linear_dw one = {&op->problem[i], 1};
            sy_cuda_linear_dw_any(x, &one);
            done = 1;
        }
        i += done;
    }
}
