# tools/ptxas.sh: a line for each kernel, by name; a register, a spill, a kernel more are told; another nvcc is not compared.
. tests/lib/check.sh

printf '#!/bin/sh\necho "nvcc: NVIDIA (R) Cuda compiler driver"\necho "Cuda compilation tools, release 13.0, V13.0.88"\n' >"$room/nvcc"
sed 's/V13.0.88/V13.1.2/' "$room/nvcc" >"$room/other"
chmod +x "$room/nvcc" "$room/other"
kernel() { # MANGLED REGISTERS REST STACK STORES LOADS
    echo "ptxas info    : Compiling entry function '$1' for 'sm_90a'"
    echo "ptxas info    : Function properties for $1"
    echo "    $4 bytes stack frame, $5 bytes spill stores, $6 bytes spill loads"
    echo "ptxas info    : Used $2 registers, used 1 barriers$3"
    echo "ptxas info    : Compile time = $2.5 ms"
}
{
    echo "ptxas info    : 0 bytes gmem"
    kernel _ZN4gemm6kernelILi1ELi0EEEvNS_4mapsENS_4argsE 168 "" 0 0 0
    kernel _ZN4gemm6kernelILi0ELi0EEEvNS_4mapsENS_4argsE 240 ", 1024 bytes smem" 16 8 4
} >"$room/b.cu.o.ptxas"
kernel _Z12permute_rowsILi0EEv10sy_permutePK5piecei 9 "" 0 0 0 >"$room/a.cu.o.ptxas"
ptxas() { # WHAT NVCC
    code=0
    sh tools/ptxas.sh "$1" "$room/report" "$room/$2" "$room/b.cu.o.ptxas" "$room/a.cu.o.ptxas" >"$room/out" 2>&1 || code=$?
}
ptxas write nvcc
expect 0 "ptxas.sh write"
{
    echo "# nvcc V13.0.88, sm_90a: registers, shared memory, stack, spill stores and loads of each kernel; made by make ptxas"
    echo "a.cu                    9      0     0     0     0  permute_rows<0>"
    echo "b.cu                  240   1024    16     8     4  gemm::kernel<0, 0>"
    echo "b.cu                  168      0     0     0     0  gemm::kernel<1, 0>"
} >"$room/want"
diff "$room/want" "$room/report" || fail "ptxas.sh write"
ptxas check nvcc
expect 0 "ptxas.sh check"
[ ! -s "$room/out" ] || fail "ptxas.sh check says something: $(cat "$room/out")"
ptxas check other
expect 0 "ptxas.sh check with another nvcc"
says "report is not compared: it is of nvcc V13.0.88, here is nvcc V13.1.2" "ptxas.sh check with another nvcc"
sed -i 's/Used 168 registers/Used 169 registers/' "$room/b.cu.o.ptxas"
ptxas check nvcc
expect 1 "ptxas.sh check of other registers"
says "^< b.cu                  168 .*gemm::kernel<1, 0>" "ptxas.sh check of other registers"
says "^> b.cu                  169 .*gemm::kernel<1, 0>" "ptxas.sh check of other registers"
sed -i 's/Used 169 registers/Used 168 registers/' "$room/b.cu.o.ptxas"
kernel _Z4moreii 8 "" 0 0 0 >>"$room/a.cu.o.ptxas"
ptxas check nvcc
expect 1 "ptxas.sh check of a kernel more"
says "^> a.cu .* more$" "ptxas.sh check of a kernel more"
rm "$room/a.cu.o.ptxas"
ptxas write nvcc
expect 2 "ptxas.sh of what was not built"
says "a.cu.o.ptxas: nothing there: build it first" "ptxas.sh of what was not built"
finish
