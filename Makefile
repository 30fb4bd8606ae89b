# `make trial` and `make test` each work alone on a bare Debian 12 with git, make, python3 and
# root (or sudo). PYTHON: hosts of the world `local` run the machine's own /usr/bin/python3,
# so the wheels that are built here must be for that one.

modern = $(shell $(1) -c 'import sys; sys.version_info >= (3, 11) and print("$(1)")' 2>/dev/null)
PYTHON ?= $(firstword $(foreach p,/usr/bin/python3 python3,$(call modern,$p)))
ifeq ($(call modern,$(PYTHON)),)
  $(error seatrial needs Python 3.11 or newer, not '$(PYTHON)': make PYTHON=/path/to/python3)
endif
GO ?=#               none: do without Go, and so without the porcupine engine
PYTEST ?=#           further arguments for pytest: make test PYTEST='-k wal'

V := .venv/bin
prepare := $(PYTHON) scripts/prepare.py --go=$(GO)
as_root := $(PYTHON) scripts/as_root.py

.PHONY: help trial trial-vm test lint bench bench-checker sanitize nightly clean
.DEFAULT_GOAL := help

help: ## list these targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 16
	@echo "variables: PYTHON=$(PYTHON)  GO=none (no porcupine engine)  PYTEST='-k wal'"

trial: ## two fault campaigns on five local hosts: one that passes, one with a planted bug
	@$(prepare) trial
	@$(as_root) $(V)/python scripts/trial.py

trial-vm: ## one fault campaign on three virtual machines; minutes without KVM
	@$(prepare) test
	@$(as_root) $(V)/seatrial run examples/vm.yml --on vm

test: ## all tests, those on real hosts included; 40 minutes on 2 cores
	@$(prepare) test
	@$(as_root) $(V)/python -m pytest $(PYTEST)

lint: ## ruff, mypy --strict, cython-lint, import layering
	@$(prepare) test
	$(V)/ruff check .
	$(V)/mypy
	MYPYPATH=scripts $(V)/mypy scripts
	PATH=$(CURDIR)/$(V):$$PATH $(V)/cython-lint core checker harness
	$(V)/lint-imports --no-cache
	$(V)/python -m pytest -q tests/source/test_layering.py

bench: ## measure commits and the harness itself; results in bench/results/
	@$(prepare) test
	@$(as_root) $(V)/python scripts/bench.py

bench-checker: ## how fast histories are judged and read, beside porcupine: 10 minutes, and 16 GB of memory
	@$(prepare) test
	@$(V)/python bench/checker.py

sanitize: ## the tests of what is compiled, with every access to memory checked; no root
	@$(prepare) test
	@$(V)/python scripts/sanitize.py $(PYTEST)

nightly: ## random tests 50 times longer, sanitize, 1000 simulated seeds of four tests, 10^7 states, planted bugs, all installs
	@$(prepare) test
	@SEATRIAL_HISTORIES=1000000 SEATRIAL_RAFT_SEEDS=3000 SEATRIAL_SIM_SEEDS=20000 \
	  SEATRIAL_ETCD_SCHEDULES=10000 SEED=$$(date +%s) \
	  $(as_root) $(V)/python -m pytest -m randomised --hypothesis-profile=nightly \
	  --timeout=14400 $(PYTEST)
	@$(V)/python scripts/sanitize.py
	@$(V)/seatrial run examples/register.yml --on sim --seeds 1000 || test $$? -eq 3 # no-coverage
	@for tree in sync async layers; do \
	  $(V)/seatrial run examples/domains-$$tree.yml --on sim --seeds 1000 || test $$? -eq 3 \
	  || exit 1; done
	@$(as_root) $(V)/seatrial run examples/vm.yml --on vm
	@$(as_root) $(V)/python scripts/trial.py vm
	@$(V)/seatrial mutants
	@$(V)/seatrial explore
	@$(V)/seatrial explore --elected --timeouts 2 --states 10000000 || test $$? -eq 2 # capped
	@$(V)/seatrial explore --domains 1/1/1 --crashes 0 --changes 1 --states 10000000 || test $$? -eq 2
	@$(V)/seatrial explore --domains 2x2 --changes 1 --states 10000000 --memory 4096 || test $$? -eq 2
	@$(V)/python scripts/verify_package.py

clean: ## remove what was built; keeps store/ and .venv/
	rm -rf build dist ./*.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find core harness workloads checker tests scripts \( -name '*.so' -o -name '*.c' \
	  -o -name '*.cpp' -o -name __pycache__ \) -prune -exec rm -rf {} +
