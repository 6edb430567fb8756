# SPDX-License-Identifier: MIT
# The few commands a newcomer types; Meson does the work in build/.
PREFIX ?= /usr/local
DESTDIR ?=
BUILD ?= build

.PHONY: all demo test bench fuzz install format lint clean

all: $(BUILD)/build.ninja
	@ninja -C $(BUILD) utap bpf-run > $(BUILD)/make.log 2>&1 || { cat $(BUILD)/make.log; exit 1; }
	@echo "built $(BUILD)/utap"

# What is missing is installed (apt), or the one command to run is printed.
$(BUILD)/build.ninja:
	@scripts/deps.sh build
	@meson setup $(BUILD) --prefix=$(PREFIX) > $(BUILD).log 2>&1 || { cat $(BUILD).log; rm -f $(BUILD).log; exit 1; }
	@rm -f $(BUILD).log

demo: all
	@scripts/deps.sh demo
	@scripts/demo.sh $(BUILD)

test:
	@scripts/deps.sh build test
	@$(MAKE) --no-print-directory all
	@scripts/test.sh $(BUILD)

bench:
	@scripts/deps.sh build test
	@$(MAKE) --no-print-directory all
	@scripts/bench.sh $(BUILD)

# A campaign: a new way each time, UTAP_FUZZ_SECONDS for each target.
fuzz:
	@scripts/deps.sh build test
	@[ -d $(BUILD)-clang ] || CC=clang meson setup $(BUILD)-clang -Dfuzz=true -Dwerror=true > /dev/null
	@ninja -C $(BUILD)-clang > /dev/null
	@UTAP_FUZZ_SEED=0 tests/fuzz/run.sh $(BUILD)-clang $${UTAP_FUZZ_SECONDS:-60}

install: all
	@meson configure $(BUILD) -Dprefix=$(PREFIX) && DESTDIR=$(DESTDIR) meson install -C $(BUILD) --quiet

format:
	@git ls-files '*.c' '*.h' | xargs clang-format -i

lint: all
	@git ls-files 'src/*.c' | xargs clang-tidy -p $(BUILD) --quiet

clean:
	rm -rf $(BUILD) $(BUILD)-*
