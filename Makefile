# `make help` lists the targets. Two of them do all the set-up: `make run` and `make test`.

PROGRAM := dataflux-func-sidecar
FUZZTIME ?= 100000x
# Root cannot be the user that commands run as.
RUN_USER := $(if $(filter 0,$(shell id -u)),--user nobody)

.PHONY: help build run test matrix lint fuzz faults bench dist install clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "%-10s %s\n", $$1, $$2}' Makefile

build: ## build bin/dataflux-func-sidecar
	CGO_ENABLED=0 go build -trimpath -ldflags='-s -w' -o bin/$(PROGRAM) ./cmd/$(PROGRAM)

run: build ## serve on 127.0.0.1:8099 without systemd, with a generated key, and print a signed call to try
	@dev/run.sh $(RUN_USER)

test: ## run all tests, with the race detector
	go test -race -timeout 25m ./...

matrix: ## the end-to-end tests on Debian 11, 12 and 13, both cgroup layouts, and arm64
	dev/matrix.sh

lint: ## gofumpt, vet, staticcheck, shellcheck, govulncheck
	dev/lint.sh

fuzz: ## fuzz each target for FUZZTIME, runs (100000x) or a duration (10s)
	dev/fuzz.sh $(FUZZTIME)

faults: ## the fault suite with 500 rounds instead of 50
	SIDECAR_FAULT_ROUNDS=500 go test -C cmd/$(PROGRAM) -timeout 60m -run '^TestFaults$$'

bench: build ## measure against a bare loop, webhook and OpenSSH, in one run; writes docs/benchmark.md
	go run ./bench

dist: ## write the release folder dist/; DOWNLOAD_URL=https://… becomes the default of download.sh
	release/dist.sh dist

install: build ## install on this host (sudo make install)
	./install.sh

clean: ## remove what was built
	rm -rf bin dist run
