# switchyard: `make help` lists what there is. Make never installs anything; ./run does.
BUILD ?= build
-include $(BUILD)/config.mk
ifeq ($(origin CC),default)
CC = gcc
endif
OPT ?= -O2 -g
PREFIX ?= /usr/local
SAN ?=
WARN = -Wall -Wextra -Wshadow -Wpointer-arith -Wstrict-prototypes -Wmissing-prototypes -Wvla
CPPFLAGS += -Iinclude -Isrc -Icli -D_GNU_SOURCE -DSY_EXPERIMENTAL=1
CFLAGS += -std=c11 -ffp-contract=off -fno-math-errno -fno-trapping-math -fPIC -fvisibility=hidden $(OPT) $(WARN) $(SAN) -MMD -MP -pthread
OUR_LIBS = -ljansson -lzstd -lz -lxxhash -lpcre2-8 -lutf8proc
LIBS = $(OUR_LIBS) $(CUDA_LIBS) -lm -pthread $(MPI_LIBS)
NVCC ?= nvcc
CUDA ?=
LDFLAGS += $(SAN)
STATIC ?=
LINK_LIBS = $(if $(STATIC),-Wl$(comma)-Bstatic $(OUR_LIBS) -Wl$(comma)-Bdynamic $(CUDA_LIBS) -lm -pthread $(MPI_LIBS),$(LIBS))
comma := ,

MACHINE := $(shell uname -m)
AMX_ISA = -mamx-tile -mamx-bf16
AMX_TIER := $(if $(filter x86_64,$(MACHINE)),$(shell $(CC) $(AMX_ISA) -E -x c /dev/null >/dev/null 2>&1 && echo amx))
TIERS := ref $(if $(filter x86_64,$(MACHINE)),avx2 avx512 avx512_bf16 $(AMX_TIER))
TIER_ref = -O3
TIER_avx2 = -O3 -mavx2 -mfma
TIER_avx512_bf16 = $(TIER_avx512) -mavx512bf16
TIER_amx = $(TIER_avx512_bf16) $(AMX_ISA)
TIER_avx512 = -O3 -mfma -mavx512f -mavx512vl -mavx512dq -mavx512bw -mprefer-vector-width=512

REF_SRC := $(wildcard src/ops/ref/*.c)
SIMD_SRC := $(foreach t,$(TIERS),$(wildcard src/ops/simd/*_$(t).c))
# A tier takes from the reference what it has no file of its own for: ops/simd/<op>_<tier>.c.
tier_src = $(filter-out $(patsubst src/ops/simd/%_$(1).c,src/ops/ref/%.c,$(wildcard src/ops/simd/*_$(1).c)),$(REF_SRC))
# CUDA=1 (make configure keeps it): the device and its ops in place of the files that say there is none.
CUDA_DIR = $(patsubst %/bin/nvcc,%,$(realpath $(shell command -v $(NVCC))))
CUDA_SRC := $(wildcard src/ops/cuda/*.cu)
CUDA_ABSENT := src/device/cuda_absent.c src/ops/cuda_absent.c
CUPTI_H = $(firstword $(wildcard $(CUDA_DIR)/include/cupti.h $(CUDA_DIR)/extras/CUPTI/include/cupti.h))
CUDA_OBJ := $(if $(CUDA),$(CUDA_SRC:%.cu=$(BUILD)/%.cu.o) $(BUILD)/src/ops/cuda/table.o $(BUILD)/src/ops/cuda/absent.o)
CUDA_LIBS = $(if $(CUDA),-L$(CUDA_DIR)/lib64 -lcudart_static -ldl -lrt $(if $(STATIC),-Wl$(comma)-Bstatic -lstdc++ -Wl$(comma)-Bdynamic,-lstdc++))
# MPI=1 likewise.
MPI_SRC := $(filter-out src/comm/mpi_absent.c,$(wildcard src/comm/mpi_*.c))
LEFT_OUT := $(if $(CUDA),$(CUDA_ABSENT),src/device/cuda.c src/device/cuda_graph.c src/device/cuda_stamps.c) $(if $(CUDA),$(if $(CUPTI_H),src/device/cuda_works_absent.c,src/device/cuda_works.c),src/device/cuda_works.c) $(if $(filter 1,$(MPI)),src/comm/mpi_absent.c,$(MPI_SRC))
LIB_SRC := $(filter-out $(REF_SRC) $(LEFT_OUT),$(wildcard src/*/*.c))
LIB_OBJ := $(CUDA_OBJ) $(LIB_SRC:%.c=$(BUILD)/%.o) $(SIMD_SRC:%.c=$(BUILD)/%.o) $(foreach t,$(TIERS),$(patsubst src/ops/ref/%.c,$(BUILD)/src/ops/ref/%.$(t).o,$(call tier_src,$(t))))
# The report's style and script, as strings.
PAGE_OBJ := $(BUILD)/src/report/page_css.o $(BUILD)/src/report/page_js.o
LIB_OBJ += $(PAGE_OBJ)
CLI_SRC := $(wildcard cli/*.c)
CLI_OBJ := $(CLI_SRC:%.c=$(BUILD)/%.o)
LIB := $(BUILD)/libswitchyard.a
# Before 1.0 each minor version is an ABI of its own.
VERSION := $(shell sed -n 's/^.define SY_VERSION "\(.*\)"/\1/p' include/switchyard.h)
SO := $(BUILD)/libswitchyard.so
SO_NAME := libswitchyard.so.$(basename $(VERSION))
SHARED := $(if $(SAN)$(STATIC),,$(SO))
BIN := $(BUILD)/switchyard
TEST_SRC := $(wildcard tests/unit/test_*.c tests/ops/test_*.c tests/e2e/test_*.c tests/cli/test_*.c)
TESTS := $(filter-out $(if $(SAN)$(if $(shell command -v $(CXX)),,none),%/test_cuda_on_cpu) $(if $(AMX_TIER),,%/test_amx_on_cpu),$(TEST_SRC:tests/%.c=$(BUILD)/tests/%))
FUZZ := $(patsubst tests/fuzz/fuzz_%.c,%,$(wildcard tests/fuzz/fuzz_*.c))
REPLAY := $(FUZZ:%=$(BUILD)/tests/fuzz/replay_%)
FAILING := $(FUZZ:%=$(BUILD)/tests/fuzz/failing_%)
FAILING_WRAP = $(patsubst %,-Wl$(comma)--wrap=%,malloc calloc realloc strdup aligned_alloc free sy_fail json_loadb \
    inflateInit2_ ZSTD_createDCtx)
FAILING_OBJ = $(BUILD)/tests/fuzz/failing_%.o $(BUILD)/tests/fuzz/failing_malloc.o
EXAMPLES := $(wildcard examples/*.c)
HELPER_SRC := $(wildcard tests/cli/toml_decode.c)
HELPERS := $(HELPER_SRC:tests/cli/%.c=$(BUILD)/tests/%) $(if $(filter 1,$(MPI)),$(BUILD)/tests/mpi/ranks)

all: $(BIN) $(SHARED) ## the program and the libraries
help: ## this list
	@grep -hE '^[a-z][a-z -]*:.*## ' Makefile | sed 's/:.*## /\t/' | expand -t 24

# A tier's objects: the reference compiled with its flags, and its own files.
define tier_rules
$(BUILD)/src/ops/ref/%.$(1).o: src/ops/ref/%.c
	@mkdir -p $$(@D)
	$$(CC) $$(CPPFLAGS) $$(CFLAGS) $$(TIER_$(1)) -DSY_TIER=$(1) -c $$< -o $$@
$(BUILD)/src/ops/simd/%_$(1).o: src/ops/simd/%_$(1).c
	@mkdir -p $$(@D)
	$$(CC) $$(CPPFLAGS) $$(CFLAGS) $$(TIER_$(1)) -DSY_TIER=$(1) -c $$< -o $$@
endef
$(foreach t,$(TIERS),$(eval $(call tier_rules,$(t))))
$(BUILD)/src/ops/ops.o: CPPFLAGS += $(AMX_TIER:%=-DSY_HAVE_AMX)
$(BUILD)/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) -c $< -o $@
# Device code. A kernel that spills, a serialised wgmma, an ignored setmaxnreg (ptxas C75xx) is no build.
GPU_FLAGS = -O3 -std=c++20 -Xcompiler -fPIC$(comma)-fvisibility=hidden --fmad=false -gencode arch=compute_90a,code=sm_90a -ccbin $(CXX)
define gpu_compile
	@mkdir -p $(@D)
	$(NVCC) $(GPU_FLAGS) -Iinclude -Isrc -MMD -MP -MF $(@:.o=.d) -Xptxas -v -c $< -o $@ 2> $@.ptxas || { cat $@.ptxas >&2; exit 1; }
	@! grep -E 'C75[0-9][0-9]|[1-9][0-9]* bytes spill|error|warning' $@.ptxas || { rm -f $@; exit 1; }
endef
$(BUILD)/src/ops/cuda/%.cu.o: src/ops/cuda/%.cu
	$(gpu_compile)
$(BUILD)/src/device/cuda.o $(BUILD)/src/device/cuda_graph.o $(BUILD)/src/device/cuda_stamps.o $(BUILD)/src/ops/cuda/%.o: CPPFLAGS += -isystem $(CUDA_DIR)/include
$(BUILD)/src/device/cuda_works.o: CPPFLAGS += -isystem $(CUDA_DIR)/include -isystem $(dir $(CUPTI_H))
# The ops of the list that no file of ops/cuda has a kernel for.
$(BUILD)/src/ops/cuda/absent.c: src/ops/ops.h $(CUDA_SRC)
	@mkdir -p $(@D)
	@{ echo '#include "ops/cuda/absent.h"'; sed -n 's/^    X(\([a-z0-9_]*\), \(sy_[a-z0-9_]*\)).*/\1 \2/p' src/ops/ops.h | while read -r op type; do \
	    grep -qs "^extern \"C\" void sy_cuda_$$op(" $(CUDA_SRC) /dev/null || echo "SY_CUDA_ABSENT($$op, $$type)"; done; } > $@
$(BUILD)/src/ops/cuda/absent.o: $(BUILD)/src/ops/cuda/absent.c
	$(CC) $(CPPFLAGS) $(CFLAGS) -c $< -o $@
$(BUILD)/src/report/page_%.c: src/report/page.%
	@mkdir -p $(@D)
	@{ echo 'extern const char sy_page_$*[];'; echo 'const char sy_page_$*[] ='; \
	    sed 's/[\\"]/\\&/g; s/^/    "/; s/$$/\\n"/' $<; echo '    ;'; } > $@
$(PAGE_OBJ): %.o: %.c
	$(CC) $(CPPFLAGS) $(CFLAGS) -c $< -o $@
$(MPI_SRC:%.c=$(BUILD)/%.o): CPPFLAGS += $(MPI_CFLAGS)
$(LIB): $(LIB_OBJ) $(wildcard $(BUILD)/config.mk)
	rm -f $@
	ar rcs $@ $(LIB_OBJ)
# It exports what the header declares (tools/exports.sh), and is found by its SONAME beside itself.
$(BUILD)/libswitchyard.map: include/switchyard.h tools/exports.sh
	sh tools/exports.sh include/switchyard.h $(VERSION) > $@.tmp && mv $@.tmp $@
$(SO): $(LIB_OBJ) $(BUILD)/libswitchyard.map
	$(CC) $(CFLAGS) $(LDFLAGS) -shared -Wl,-soname,$(SO_NAME) -Wl,--version-script=$(BUILD)/libswitchyard.map -Wl,--no-undefined $(LIB_OBJ) $(LINK_LIBS) -o $@
	ln -sf libswitchyard.so $(BUILD)/$(SO_NAME)
$(BIN): $(CLI_OBJ) $(LIB)
	$(CC) $(CFLAGS) $(LDFLAGS) $^ $(LINK_LIBS) -o $@
$(BUILD)/tests/fuzz/replay_%: $(BUILD)/tests/fuzz/fuzz_%.o $(BUILD)/tests/fuzz/replay.o $(LIB)
	$(CC) $(CFLAGS) $(LDFLAGS) $^ $(LINK_LIBS) -o $@
$(BUILD)/tests/fuzz/fuzz_%: $(BUILD)/tests/fuzz/fuzz_%.o $(LIB)
	$(CC) $(CFLAGS) $(LDFLAGS) -fsanitize=fuzzer $^ $(LINK_LIBS) -o $@
$(BUILD)/tests/fuzz/failing_%.o: tests/fuzz/fuzz_%.c tests/fuzz/failing_malloc.h
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) -include tests/fuzz/failing_malloc.h -c $< -o $@
$(BUILD)/tests/fuzz/failing_%: $(FAILING_OBJ) $(BUILD)/tests/fuzz/replay.o $(LIB)
	$(CC) $(CFLAGS) $(LDFLAGS) $(FAILING_WRAP) -Wl,--wrap=main $^ $(LINK_LIBS) -o $@
$(BUILD)/failing/tests/fuzz/fuzz_%: $(FAILING_OBJ) $(LIB)
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(LDFLAGS) -fsanitize=fuzzer $(FAILING_WRAP) $^ $(LINK_LIBS) -o $@
# The GPU's ops but products, run by a CPU (tests/ops/cuda_on_cpu.h); no sanitizer follows its fibers.
ON_CPU := $(patsubst %.cu,$(BUILD)/on_cpu/%.o,$(shell grep -l SY_LAUNCH src/ops/cuda/*.cu)) $(BUILD)/on_cpu/tests/ops/cuda_on_cpu.o $(BUILD)/on_cpu/tests/ops/cuda_on_cpu_control.o $(BUILD)/tests/ops/step_on_cpu.o
$(BUILD)/on_cpu/%.o: %.cu
	@mkdir -p $(@D)
	$(CXX) -x c++ $(ON_CPU_FLAGS) -include tests/ops/cuda_on_cpu.h -include tests/ops/ptx_on_cpu.h -c $< -o $@
$(BUILD)/on_cpu/%.o: %.cc
	@mkdir -p $(@D)
	$(CXX) $(ON_CPU_FLAGS) -c $< -o $@
ON_CPU_FLAGS = -std=c++20 -O2 -g -ffp-contract=off -DSY_ON_CPU -Wall -Wextra -Wno-unknown-pragmas -Wno-missing-field-initializers -I. -Iinclude -Isrc -MMD -MP
$(BUILD)/tests/ops/test_cuda_on_cpu: $(BUILD)/tests/ops/test_cuda_on_cpu.o $(ON_CPU) $(LIB)
	$(CC) $(CFLAGS) $(LDFLAGS) $^ $(LINK_LIBS) -lcmocka -lstdc++ -o $@
# The tier amx with tile instructions in software (tests/ops/amx_on_cpu.h), in a table of its own.
AMX_ON_CPU := $(patsubst %,$(BUILD)/amx_on_cpu/src/ops/%.o,$(addprefix ref/,linear linear_dx linear_dw product product_pack product_chain attention_fwd attention_bwd peak) simd/product_kernel_amx simd/tiles_amx)
$(BUILD)/amx_on_cpu/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) $(TIER_avx512_bf16) -D__AMX_BF16__ -DSY_TIER=amx_on_cpu -Dsy_amx_tiles=soft_tiles -include tests/ops/amx_on_cpu.h -c $< -o $@
$(BUILD)/tests/ops/test_amx_on_cpu: $(BUILD)/tests/ops/test_amx_on_cpu.o $(AMX_ON_CPU) $(LIB)
	$(CC) $(CFLAGS) $(LDFLAGS) $^ $(LINK_LIBS) -lcmocka -o $@
$(BUILD)/tests/%: $(BUILD)/tests/%.o $(LIB)
	$(CC) $(CFLAGS) $(LDFLAGS) $^ $(LINK_LIBS) -lcmocka -o $@
$(BUILD)/tests/toml_decode: $(BUILD)/tests/cli/toml_decode.o $(LIB)
	$(CC) $(CFLAGS) $(LDFLAGS) $^ $(LINK_LIBS) -o $@
$(BUILD)/examples/%: $(BUILD)/examples/%.o $(LIB)
	$(CC) $(CFLAGS) $(LDFLAGS) $^ $(LINK_LIBS) -o $@
.SECONDARY:

demo: $(BIN) ## train configs/tiny.toml on short pieces of prose, sample, compare the digest
	sh tools/demo.sh $(BIN)
tests: $(BIN) $(SHARED) $(TESTS) $(REPLAY) $(FAILING) $(HELPERS) $(EXAMPLES:%.c=$(BUILD)/%) ## build what test runs
test: tests ## every test that needs no GPU, MPI, network or Python
	sh tools/run_tests.sh $(BUILD) $(TESTS) $(REPLAY) $(FAILING) $(if $(filter 1,$(MPI)),$(wildcard tests/mpi/*.sh))
example: $(BUILD)/examples/moe_layer ## one MoE layer in a program of one's own: alone, and over 4 ranks with the same digest
	$< && $< --ranks 4
$(BUILD)/tests/gpu/%.cu.o: tests/gpu/%.cu
	$(gpu_compile)
$(BUILD)/tests/gpu/test_sm90: $(BUILD)/tests/gpu/test_sm90.o $(BUILD)/tests/gpu/mma_sm90.cu.o $(LIB)
	$(CC) $(CFLAGS) $(LDFLAGS) $^ $(LINK_LIBS) -o $@
$(BUILD)/tests/gpu/%: $(BUILD)/tests/gpu/%.o $(LIB)
	$(CC) $(CFLAGS) $(LDFLAGS) $^ $(LINK_LIBS) -o $@
GPU_TESTS := $(patsubst %,$(BUILD)/tests/gpu/test_%,sm90 ops attention)
goldens-sm90: $(BIN) ## write tests/data/goldens_sm90.txt anew, on this CPU: what a GPU is compared with
	BIN=$(BIN) DEVICE=cpu sh tests/gpu/goldens.sh write
	git --no-pager diff --stat -p tests/data/goldens_sm90.txt
PTXAS = sh tools/ptxas.sh $(1) src/ops/cuda/ptxas.txt $(NVCC) $(CUDA_SRC:%.cu=$(BUILD)/%.cu.o.ptxas)
ptxas: $(CUDA_SRC:%.cu=$(BUILD)/%.cu.o) ## write src/ops/cuda/ptxas.txt: registers, shared memory, stack, spills of every kernel (CUDA=1)
	$(call PTXAS,write)
ptxas-check: $(CUDA_SRC:%.cu=$(BUILD)/%.cu.o) ## what ptxas says == src/ops/cuda/ptxas.txt, where nvcc is the same
	$(call PTXAS,check)
gpu-sanitize: gpu-tests ## memcheck, racecheck, initcheck, synccheck over a few calls of every op (needs the GPU)
	sh tests/gpu/sanitize.sh $(BUILD)
proof: $(BIN) ## 3 steps of both micro models on this CPU, and on the GPU if there is one: the bits of an H200
	BIN=$(BIN) sh tools/proof.sh
plan-time: $(BUILD)/bench/plan_time ## the time that plan expects of a step, and the time that it takes, on this CPU
	$< configs/dsv3_debug.toml
$(BUILD)/bench/plan_time: $(BUILD)/bench/plan_time.o $(LIB)
	$(CC) $(CFLAGS) $(LDFLAGS) $^ $(LINK_LIBS) -o $@
amx-chain: $(BUILD)/bench/amx_chain ## in which order TDPBF16PS sums (a processor with AMX; elsewhere it says so); VDPBF16PS first, as a check
	$< --self 3 && { $< || [ $$? = 2 ]; }
AMX_TESTS := $(patsubst %,$(BUILD)/tests/ops/test_%,chain products products_dw product_blocks parts attention attention_laws attention_oracle peak tiers calls)
amx-test: $(BIN) $(AMX_TESTS) ## the tier amx on a processor that has it: tests of products, goldens of class amx, speed beside the peak
	sh tools/amx.sh $(BUILD) || [ $$? = 2 ]
AMX_FLAGS = -O2 -mfma -mavx512f -mavx512dq -mavx512bw -mavx512vl -mavx512bf16 $(AMX_ISA)
$(BUILD)/bench/amx_chain: bench/amx_chain.c bench/amx_orders.h
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) -Ibench $(filter-out -MMD -MP,$(CFLAGS)) $(AMX_FLAGS) -static $< -o $@
gpu-tests: $(BIN) $(GPU_TESTS) ## build what gpu-test runs: on a machine without a GPU, too (CUDA=1)
gpu-test: gpu-tests ## class sm90 and every op against a Hopper GPU, bit for bit (needs CUDA=1 and the GPU)
	sh tests/gpu/run.sh $(BUILD)
gpu-bench: $(BIN) ## every op on the GPU at the sizes of trainings; beside cuBLAS, grouped_mm, cuDNN where torch is (bench/gpu)
	BIN=$(BIN) sh bench/gpu/run.sh
test-all: test cover tiers arm64 headers layers browser readers python-test ## test, all layouts of verify, all tiers, arm64, the report in a browser, the Python package, and the checks of the house
browser: $(BIN) ## the report in chromium, beside pictures that were looked at (where chromium and python3 are)
	BIN=$(BIN) sh tests/browser/report.sh
PYTHON ?= python3
python-test: $(BIN) $(SO) ## the Python package against the program, numpy and transformers, where they are (PYTHON=)
	@if command -v $(PYTHON) >/dev/null; then SWITCHYARD_LIBRARY=$(abspath $(SO)) BIN=$(BIN) PYTHONPATH=python $(PYTHON) python/tests/test_switchyard.py; else echo "python-test: no $(PYTHON) here"; fi
readers: $(BIN) ## event files and Prometheus' page as the packages tensorboard and prometheus_client read them (where python3 has them)
	BIN=$(BIN) sh tests/readers/tensorboard.sh
	BIN=$(BIN) sh tests/readers/prometheus.sh
tiers: $(BIN) ## 20 steps of both debug configs in every tier of this machine: tests/data/goldens_debug.txt
	sh tools/tiers.sh $(BIN)
arm64: $(BIN) ## built for arm64, run by qemu-user: the bits of this machine (where the cross compiler, qemu and the libraries are)
	sh tools/arm64.sh $(BIN)
screenshots: $(BIN) ## docs/report*.png anew (chromium)
	BIN=$(BIN) sh tools/screenshots.sh
cover: $(BIN) ## every layout that verify knows, in recipes of other shapes: one digest each
	$(BIN) verify configs/micro_mla.toml --steps 5 --model.n_layers=8
	$(BIN) verify configs/micro_gqa.toml --steps 5 --model.n_layers=8
	$(BIN) verify configs/micro_mla.toml --steps 5 --model.n_layers=8 --numerics.expert_lanes=8
	$(BIN) verify configs/micro_gqa.toml --steps 5 --numerics.expert_lanes=8
	$(BIN) verify configs/micro_mla.toml --steps 2 --model.n_layers=5 --numerics.lanes=4 --numerics.expert_lanes=2 --numerics.cell=2
	$(BIN) verify configs/micro_gqa.toml --steps 2 --model.n_layers=5 --numerics.lanes=6 --training.global_batch_size=12
	$(BIN) verify configs/micro_mla.toml --steps 2 --numerics.class=fp32
	$(BIN) verify configs/micro_mla.toml --steps 3 --model.n_layers=8 --model.tie_word_embeddings --model.attention_bias --model.attention_output_bias
	$(BIN) verify configs/dsv3_debug.toml --steps 2 --layouts 6 --only tier=auto --training.seq_len=128
goldens: $(BIN) ## write tests/data/goldens.txt and tests/cli/transcript.txt anew and show what changed
	BIN=$(BIN) sh tests/e2e/goldens.sh write
	BIN=$(BIN) sh tests/cli/transcript.sh write
	git --no-pager diff --stat -p tests/data/goldens.txt tests/cli/transcript.txt
configure: ## keep CC, OPT and PREFIX as given here for later calls of make; CUDA=1: with the GPU (NVCC=path); MPI=1: with Open MPI
	@mpi=$$(sh tools/find_mpi.sh $(MPI)) && CC='$(CC)' NVCC='$(NVCC)' CUDA_HOME='$(CUDA_HOME)' sh tools/configure.sh '$(CUDA)' \
	    $(BUILD)/config.mk 'CC = $(CC)' 'OPT = $(OPT)' 'PREFIX = $(PREFIX)' $${mpi:+"$$mpi"}
MAN = share/man/man1/switchyard.1
COMPLETION = share/bash-completion/completions/switchyard
INSTALLED = bin/switchyard include/switchyard.h lib/libswitchyard.a lib/pkgconfig/switchyard.pc $(MAN) $(COMPLETION) \
    lib/libswitchyard.so.$(VERSION) lib/$(SO_NAME) lib/libswitchyard.so
install: $(BIN) $(LIB) $(SO) ## program, libraries, header, pkg-config file, manual page, completion, into PREFIX (/usr/local); DESTDIR for packages
	install -d $(sort $(dir $(INSTALLED:%=$(DESTDIR)$(PREFIX)/%)))
	install -m 755 $(BIN) $(DESTDIR)$(PREFIX)/bin/switchyard
	install -m 644 include/switchyard.h $(DESTDIR)$(PREFIX)/include/switchyard.h
	install -m 644 $(LIB) $(DESTDIR)$(PREFIX)/lib/libswitchyard.a
	install -m 755 $(SO) $(DESTDIR)$(PREFIX)/lib/libswitchyard.so.$(VERSION)
	ln -sf libswitchyard.so.$(VERSION) $(DESTDIR)$(PREFIX)/lib/$(SO_NAME)
	ln -sf $(SO_NAME) $(DESTDIR)$(PREFIX)/lib/libswitchyard.so
	install -m 644 docs/switchyard.1 $(DESTDIR)$(PREFIX)/$(MAN)
	$(BIN) completion >$(DESTDIR)$(PREFIX)/$(COMPLETION)
	printf '%s\n' 'prefix=$(PREFIX)' 'includedir=$${prefix}/include' 'libdir=$${prefix}/lib' '' \
	    'Name: switchyard' 'Description: mixture-of-experts training, the same bits on every layout' \
	    'Version: $(VERSION)' 'Requires.private: jansson libzstd zlib libxxhash libpcre2-8 libutf8proc$(if $(filter 1,$(MPI)), ompi-c)' \
	    'Cflags: -I$${includedir}' 'Libs: -L$${libdir} -lswitchyard' 'Libs.private: $(CUDA_LIBS) -lm -pthread' >$(DESTDIR)$(PREFIX)/lib/pkgconfig/switchyard.pc
uninstall: ## remove what install wrote, with the same PREFIX and DESTDIR
	rm -f $(INSTALLED:%=$(DESTDIR)$(PREFIX)/%)

clean: ## remove build/
	rm -rf $(BUILD)
asan ubsan tsan: ## the tests under a sanitizer, built in build/<name>
	$(MAKE) BUILD=build/$@ OPT="-O1 -g" SAN="$(SAN_$@)" QUICK=1 test
SAN_asan = -fsanitize=address -fno-omit-frame-pointer
SAN_ubsan = -fsanitize=undefined -fno-sanitize-recover=all
SAN_tsan = -fsanitize=thread
FUZZ_SECONDS ?= 60
fuzz: ## every fuzz target for FUZZ_SECONDS=60 (clang), then with failing malloc; a finding stops, its input stays
	$(MAKE) BUILD=build/fuzz CC=clang OPT="-O1 -g" SAN="-fsanitize=fuzzer-no-link,address" fuzz-run
fuzz-run: $(FUZZ:%=$(BUILD)/tests/fuzz/fuzz_%) $(FUZZ:%=$(BUILD)/failing/tests/fuzz/fuzz_%)
	sh tools/fuzz.sh $(BUILD) $(FUZZ_SECONDS) $(FUZZ)
	sh tools/fuzz.sh $(BUILD)/failing $(FUZZ_SECONDS) $(FUZZ)
tidy: ## clang-tidy: the analyzer and what is bug-prone (.clang-tidy says what is left out)
	clang-tidy --quiet $(LIB_SRC) $(REF_SRC) $(CLI_SRC) -- -std=c11 -DSY_TIER=ref $(CPPFLAGS)
format: ## clang-format on every source
	clang-format -i $$(git ls-files '*.c' '*.h')
sizes: ## the longest files
	@wc -l $$(git ls-files '*.c' '*.h') | sort -rn | sed -n '2,12p'
layers: ## an include may only point to an earlier room
	sh tools/check_layers.sh
docs: $(BUILD)/tools/config_reference $(BIN) ## docs/CONFIG.md and docs/switchyard.1 from the tables in src/config and cli
	$< > docs/CONFIG.md.tmp && mv docs/CONFIG.md.tmp docs/CONFIG.md
	$(BIN) manual > docs/switchyard.1.tmp && mv docs/switchyard.1.tmp docs/switchyard.1
$(BUILD)/tools/config_reference: $(BUILD)/tools/config_reference.o $(LIB)
	$(CC) $(CFLAGS) $(LDFLAGS) $^ $(LINK_LIBS) -o $@
headers: ## the public header, and the examples with it, compile alone as C11 and C++17
	$(CC) -std=c11 -Wall -Wextra -pedantic -fsyntax-only -x c include/switchyard.h
	$(CC) -std=c11 -Wall -Wextra -pedantic -fsyntax-only -Iinclude $(EXAMPLES)
	@if ! command -v $(CXX) >/dev/null; then echo "headers: no $(CXX) here, C++17 is not checked"; else set -x; \
	    $(CXX) -std=c++17 -Wall -Wextra -pedantic -fsyntax-only -x c++ include/switchyard.h && \
	    $(CXX) -std=c++17 -Wall -Wextra -pedantic -fsyntax-only -Iinclude -x c++ $(EXAMPLES); fi

-include $(LIB_OBJ:.o=.d) $(ON_CPU:.o=.d) $(AMX_ON_CPU:.o=.d) $(CLI_OBJ:.o=.d) $(TESTS:=.d) $(GPU_TESTS:=.d) $(FUZZ:%=$(BUILD)/tests/fuzz/fuzz_%.d) $(FAILING:=.d)
.PHONY: all help demo tests test test-all cover goldens configure install uninstall clean asan ubsan tsan fuzz fuzz-run tidy
.PHONY: arm64 tiers browser readers python-test screenshots format sizes layers docs headers example gpu-test gpu-tests gpu-bench gpu-sanitize goldens-sm90 proof plan-time amx-chain ptxas ptxas-check
