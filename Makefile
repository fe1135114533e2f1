# `make help` lists the targets. Two of them do all the set-up: `make run` and `make test`.

PROGRAM := dataflux-func-sidecar
FUZZTIME ?= 100000x
# Machines that the end-to-end tests boot at the same time: they wait far more than they compute.
MACHINES ?= 6
# Root cannot be the user that commands run as.
RUN_USER := $(if $(filter 0,$(shell id -u)),--user nobody)

.PHONY: help build run test test-system e2e matrix lint fuzz faults soak bench bench-facts bench-fleet bench-ansible cast dist repo install clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "%-13s %s\n", $$1, $$2}' Makefile

build: ## build bin/dataflux-func-sidecar
	CGO_ENABLED=0 go build -trimpath -ldflags='-s -w' -o bin/$(PROGRAM) ./cmd/$(PROGRAM)

run: build ## serve without systemd on 127.0.0.1:8099, the next free port or BIND=…, and print calls to try
	@exec env BIND='$(BIND)' packaging/run-from-source.sh $(RUN_USER)

test: ## run the unit tests, with the race detector; needs no root
	go test -race $$(go list ./... | grep -vE '/(test|packaging|connector)(/|$$)')
	go test -C test/bench .

test-system: ## test the built program, the connector and the release on this host; as root it tests more
	go test -timeout 20m ./test/system ./connector ./packaging
	go test -C test/interop .
	go test -race -tags cages -run '^(TestCages|TestHandOver_InCages)$$' ./exec

e2e: ## test installed programs in booted machines, MACHINES (6) at a time; needs root
	go test -timeout 30m -parallel $(MACHINES) ./test/e2e

matrix: ## the end-to-end tests on Debian 11, 12, 13 and sid, both cgroup layouts, own kernels, SELinux, Node.js, arm64
	test/e2e/matrix.sh

lint: ## gofumpt, width of lines, vet, staticcheck, shellcheck, govulncheck
	test/lint.sh

fuzz: ## fuzz each target for FUZZTIME, runs (100000x) or a duration (10s)
	test/fuzz.sh $(FUZZTIME)

faults: ## the fault suite with 500 rounds instead of 50, and the state package with all power cuts and kills
	SIDECAR_FAULT_ROUNDS=500 go test -timeout 60m -run '^TestFaults$$' ./test/system
	SIDECAR_FAULT_ROUNDS=500 go test -race -count=1 ./internal/state

soak: ## hostile and ordinary commands together in a booted machine, for SOAK (30m)
	SIDECAR_SOAK=$(or $(SOAK),30m) go test -count=1 -timeout 90m -v -run '^TestAttack_Soak$$' ./test/e2e

bench: build ## measure against a bare loop, webhook and OpenSSH; writes docs/benchmark.md, .svg and why-not.md
	go run -C test/bench .

bench-facts: build ## try replays, broken connections and keys on the daemon, webhook and OpenSSH; writes docs/why-not.md
	go run -C test/bench . -facts

bench-fleet: build ## measure SidecarFleet of the connector against HOSTS (500) daemons; writes docs/benchmark-fleet.md
	go run -C test/bench . -fleet $(or $(HOSTS),500)

bench-ansible: build ## measure the Ansible connection against HOSTS (50) daemons, beside SSH; writes docs/benchmark-ansible.md
	go run -C test/bench . -ansible $(or $(HOSTS),50)

cast: ## record the terminal session of README.md in a booted machine; writes docs/first-steps.svg
	SIDECAR_CAST=1 go test -count=1 -run '^TestCast_FirstSteps$$' ./test/e2e

dist: ## write the release folder dist/; PACKAGES=no: without .deb and .rpm; DOWNLOAD_URL=https://…: the default of download.sh; DIST_SIGNING_KEY=FILE: sign it
	packaging/dist.sh $(if $(filter no,$(PACKAGES)),--no-packages) dist

repo: ## write signed apt and yum repositories of dist/ to repo/; REPO_SIGNING_KEY=FINGERPRINT REPO_URL=https://…
	packaging/repo.sh dist repo

install: build ## install on this host (sudo make install)
	./install.sh

clean: ## remove what was built
	rm -rf bin dist repo run
