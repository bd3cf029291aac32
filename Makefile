# Everything a developer types. "make help" lists it.
SHELL := /bin/bash -o pipefail
.DEFAULT_GOAL := help

export CGO_ENABLED ?= 0
# The Go of go.mod, which the go command fetches as a module: an older one would build known vulnerabilities in.
export GOTOOLCHAIN := auto
VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS  := -s -w -X github.com/flagship-fleet/flagship/pkg/version.Version=$(VERSION)
GOBUILD  := go build -ldflags '$(LDFLAGS)'
GOLINT   := go tool -modfile=tools/go.mod golangci-lint
FLEET    ?= .fleet

# What the embedded cluster is built from: it compiles Kubernetes, so it is built only when one of these changed.
EMBEDDED := $(shell find embedded -name '*.go' -not -name '*_test.go' -o -name '*.yaml' 2>/dev/null) embedded/go.mod embedded/go.sum

.PHONY: help
help: ## show this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## /{printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: generate
generate: ## make deepcopy, the other API versions and the CRDs again from apis/, and docs/metrics.md from the agents
	go generate ./apis ./docs

.PHONY: verify
verify: ## fail if generated files, go.mod or formatting are not what the sources say
	./test/verify.sh

.PHONY: lint
lint: ## vet and lint all modules
	$(GOLINT) run ./...
	cd embedded && go tool -modfile=../tools/go.mod golangci-lint run --config ../.golangci.yml ./...

# Modules that "make vuln" looks at. The embedded cluster is not among them: it is Kubernetes itself, and only for tests and laptops.
VULN ?= .

.PHONY: vuln
vuln: ## fail if known vulnerabilities are reached that tools/vuln/excuses.txt does not excuse
	cd tools/vuln && go test . && go run . -excuses excuses.txt $(foreach m,$(VULN),$(abspath $(m)))

.PHONY: build
build: bin/embedded-cluster agents ## build everything into bin/

.PHONY: agents
agents: ## build the agents and the kubectl plugin
	@mkdir -p bin
	$(GOBUILD) -o bin/ ./cmd/...

bin/embedded-cluster: $(EMBEDDED)
	@mkdir -p bin
	@echo "building the embedded Kubernetes cluster: a few minutes the first time, seconds afterwards"
	cd embedded && go build -ldflags '-s -w' -o ../bin/embedded-cluster .

# Who has no kubectl gets the one that belongs to the embedded cluster.
KUBECTL := $(if $(shell command -v kubectl),,bin/kubectl)

bin/kubectl: embedded/go.mod
	@echo "building kubectl, because there is none on PATH: some minutes, once"
	cd embedded && go build -ldflags '-s -w' -o ../bin/kubectl k8s.io/kubernetes/cmd/kubectl

# The packages that take longest begin first, so that the end of "make test" does not wait for one of them alone.
SLOWEST := ./pkg/member/applier ./pkg/hub/placer

# The seeded simulations, which play many seeds without the race detector, and a few with it, ten times slower.
SIMULATED := ./pkg/schedule ./pkg/replicas
SEEDS     ?= 1000

.PHONY: test
test: build ## unit tests and behaviour on embedded clusters, with the race detector
	CGO_ENABLED=1 go test -race -timeout 60m $(SLOWEST) ./apis/... ./charts/... ./cmd/... ./pkg/... ./test/imports/... ./test/claims/...
	go test -timeout 30m -run 'Simulation|IsInTime|IsCheap' $(SIMULATED) -args -seeds $(SEEDS)
	cd embedded && go test -timeout 30m ./...

.PHONY: e2e
e2e: build ## acceptance scenarios, failures, attacks and admission on embedded fleets
	go test -count 1 -parallel 8 -timeout 60m ./test/e2e/... ./test/chaos/... ./test/walls/... ./test/admission/...

.PHONY: e2e-kind
e2e-kind: ## the same scenarios on kind clusters (needs docker and kind)
	./test/e2e/kind/run.sh

.PHONY: bench
bench: build ## measure speed, writes and memory on an embedded fleet; prints a table and writes out/bench.json
	go run ./test/bench

# Sizes for "make bench-scale", such as SCALE="-scale-members 100 -scale-placements 100 -scale-clusters 10".
SCALE ?=

.PHONY: bench-scale
bench-scale: build ## measure one hub with 1,000 members, which are models; prints a table and writes out/scale.json
	go run ./test/bench -only scale -out out/scale.json $(SCALE)

.PHONY: up
up: build $(KUBECTL) ## start a local fleet and place the quickstart on it
	bin/kubectl-fleet up --dir $(FLEET) --example

.PHONY: down
down: ## stop the local fleet
	bin/kubectl-fleet down --dir $(FLEET)
