# The short names of the common jobs; CMake does the work (CMakePresets.json says how each build differs).
.DEFAULT_GOAL := release
MAKEFLAGS += --no-print-directory
JOBS ?= $(shell nproc)
PREFIX ?= /usr/local
DESTDIR ?=
FUZZ_SECONDS ?= 60
FAULTS ?= 100
KILLS ?= 1000
EXACT ?=
# What configuring says is kept in a file and shown only when it fails.
configure = mkdir -p $(2) && { cmake --preset $(1) >$(2)/configure.log 2>&1 || { cat $(2)/configure.log; exit 1; }; }
build = $(call configure,$(1),$(2)) && cmake --build $(2) -j $(JOBS) -- --quiet

.PHONY: release test demo check-exact chaos chaos-recover chaos-hosts debug asan ubsan tsan cuda static fuzz lint docs format bench compare install clean help

release: ## build the program: build/lockstep (this is plain `make`)
	@$(call build,release,build)

test: release ## build and run every test
	@ctest --test-dir build -j $(JOBS) --output-on-failure

demo: ## install what is needed, build, and train a small GPT on real text
	@tools/deps.sh
	@$(MAKE) release
	@tools/demo.sh

check-exact: release ## train in every layout of ranks, ZeRO, transport and wire format: one hash each (EXACT="--sample 8" for less)
	@tools/check_exact.sh $(EXACT)

chaos: release ## put FAULTS (100) faults into runs of eight ranks: each must be named within two seconds
	@build/lockstep chaos -n 8 --faults $(FAULTS) -- train configs/exact_gpt.yaml steps=40 out=out/chaos

chaos-recover: release ## kill ranks KILLS (1000) times at any instant: nothing lost, the weights of an undisturbed run
	@build/lockstep chaos --recover -n 4 --kills $(KILLS) -- train configs/exact_gpt.yaml steps=300 save_every=6 zero=1 out=out/chaos-recover

chaos-hosts: KILLS = 50
chaos-hosts: release ## strike hosts (network namespaces) KILLS (50) times under each MPI: links, ranks and keepers, nothing lost
	@KILLS=$(KILLS) tests/ranks/test_chaos_hosts.sh build campaign

debug: ## build without optimisation: build-debug/lockstep
	@$(call build,debug,build-debug)

asan ubsan tsan: ## build with a sanitizer and run its tests (asan: addresses, leaks, undefined behaviour)
	@$(call build,$@,build-$@)
	@ctest --preset $@ -j $(JOBS)

cuda: ## build with the CUDA device: build-cuda/lockstep
	@$(call build,cuda,build-cuda)

static: ## build one fully static program, build-static/lockstep, and check its size
	@$(call build,static,build-static)
	@tools/check_static build-static/lockstep

fuzz: ## run every fuzz target for FUZZ_SECONDS (60), two at a time
	@$(call build,fuzz,build-fuzz)
	@tools/fuzz.sh build-fuzz $(FUZZ_SECONDS)

lint: ## layers, banned calls, sizes, format, warnings as errors with gcc and clang
	@tools/lint.sh

docs: release ## rewrite the parts of docs/ that the program prints
	@tools/docs.sh build/lockstep

format: ## rewrite the C files with clang-format 14
	@git ls-files '*.c' '*.h' '*.cu' | xargs clang-format-14 -i

bench: ## time matrix products and every op on this machine
	@$(call build,bench,build-bench)
	@build-bench/bench/bench_matmul
	@build-bench/bench/bench_ops

compare: release ## short forms of bench/compare: training beside PyTorch, matrix products beside oneDNN (installs both: 8 GB)
	@$(call build,bench,build-bench)
	@bench/compare/train.sh demo bf16 1 10
	@bench/compare/train.sh gpt2_124m_64 bf16 1 4
	@bench/compare/gemm.sh 1 "bf16 f32" 256

install: release ## install into DESTDIR/PREFIX (PREFIX is /usr/local)
	@DESTDIR="$(DESTDIR)" cmake --install build --prefix "$(PREFIX)"

clean: ## remove every build folder
	rm -rf build build-debug build-asan build-ubsan build-tsan build-fuzz build-cuda build-static build-lint build-ci-logs

help: ## this list
	@awk -F ':.*## ' '/^[a-z -]+:.*## / { printf "make %-16s %s\n", $$1, $$2 }' Makefile
