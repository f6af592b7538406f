# radiograd: the commands that a visitor needs. `make demo` and `make test` work on a fresh machine with a Rust toolchain.

CARGO  ?= cargo
OUT    ?= target/demo
BENCHES = --bench data --bench kernels --bench models --bench overhead
# The demonstration: synthetic radiographs, both training stages, folds, heat maps, one report.
DEMO    = $(CARGO) run --release --example detl -- --out $(OUT)

.PHONY: help demo test bench bench-smoke fmt fmt-check lint driver ci

help:
	@echo "make demo         train DETL on synthetic chest radiographs and write $(OUT)/report.html"
	@echo "make test         all tests"
	@echo "make bench        all benchmarks (minutes)"
	@echo "make bench-smoke  every benchmark once (seconds)"
	@echo "make fmt lint     format, clippy with warnings as errors"
	@echo "make driver       check for a Vulkan driver; as root on Debian or Ubuntu, install one"
	@echo "make ci           what a clean checkout must pass"

demo: driver
	$(DEMO)

test: driver
	$(CARGO) test --all-features --no-fail-fast

bench: driver
	$(CARGO) bench $(BENCHES)

bench-smoke: driver
	BENCH_SMOKE=1 $(CARGO) bench $(BENCHES)

fmt:
	$(CARGO) fmt

fmt-check:
	$(CARGO) fmt --check

lint:
	$(CARGO) clippy --all-targets -- -D warnings

driver:
	@bash .ci/driver.sh

ci:
	bash .ci/run
