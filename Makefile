# hairpin: `make run` starts a relay, `make help` lists the rest.

GO       ?= go
ARGS     ?=
PKG      ?= ./...
FUZZTIME ?= 3s
BENCH    ?= .
COUNT    ?= 5
IMAGE    ?= hairpin

# A tag when there is one, else the commit; "dev" outside a checkout.
VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS   = -X main.version=$(VERSION)

# What an image can do without: manual pages of the command line, HTTP/2, as nothing in it speaks it, and functions copied
# into each other where no packet passes, and gaps between functions: 1.7 of 16.5 MB, and no time that shows (0.72-0.77
# against 0.65-0.90 µs a packet).
IMAGE_FLAGS = -tags urfave_cli_no_docs,nethttpomithttp2 -gcflags=all=-l -gcflags=net/netip= -gcflags=encoding/binary= -gcflags=github.com/hairpin-turn/hairpin/relay/forward= -gcflags=github.com/hairpin-turn/hairpin/relay/udp= -gcflags=github.com/hairpin-turn/hairpin/relay/allocation= -gcflags=github.com/hairpin-turn/hairpin/relay/wire= -gcflags=github.com/hairpin-turn/hairpin/relay/stream= -gcflags=github.com/hairpin-turn/hairpin/relay/quality=
IMAGE_ARGS = --build-arg VERSION=$(VERSION) --build-arg REVISION=$(shell git rev-parse HEAD 2>/dev/null || echo unknown) $(if $(GOARCH),--platform linux/$(GOARCH))

export GO PKG FUZZTIME

.DEFAULT_GOAL := help
.PHONY: run demo build test test-kubernetes fuzz check generate conformance bench bench-rivals bench-docker image image-prebuilt clean help

run: build ## build, then start a relay; ARGS="--listen udp://:3479" adds flags
	@bin/hairpin serve $(ARGS)

demo: build ## a video call between two browser windows on this host; ARGS are flags of the relay
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/one2one ./cmd/one2one
	@cmd/one2one/demo $(ARGS)

build: ## build the static binary bin/hairpin
	@command -v $(GO) >/dev/null || { echo "make: Go 1.26 or newer is needed to build hairpin: https://go.dev/dl/" >&2; exit 1; }
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/hairpin ./cmd/hairpin

test: ## all tests with the race detector, then each fuzz target for FUZZTIME (3s); PKG=./relay/... narrows it
	@.ci/test

test-kubernetes: ## calls through every Kubernetes overlay in the cluster of KUBECONFIG; deploy/kubernetes/README.md has the variables
	@.ci/kubernetes

fuzz: ## only the fuzz targets; FUZZTIME=1m for a longer search
	@.ci/fuzz

check: ## format, vet, staticcheck, known vulnerabilities, other platforms, repository rules, generated files, modules, unit file
	@.ci/check

generate: ## write the generated files again
	$(GO) generate ./...

conformance: build ## hold hairpin, coturn and pion/turn to the RFCs, on loopback; writes cmd/hairpin/conformance.md and relay/RFC.md
	$(GO) build -o bin/rivals ./cmd/rivals
	bin/rivals conformance $(ARGS)
	$(GO) generate ./cmd/hairpin/internal/check

bench: ## Go benchmarks, COUNT (5) times each, ready for benchstat; BENCH=Hairpin and PKG=./relay/... narrow it
	$(GO) test -run '^$$' -bench '$(BENCH)' -benchmem -count $(COUNT) $(PKG)

bench-rivals: build ## hairpin beside coturn, pion/turn and a bare loop, on loopback; writes cmd/rivals/results.*; ARGS="--rounds 3"
	@cc -O2 -o bin/bare-loop testdata/bare/loop.c || echo "SKIPPED: bare loop: it needs a C compiler" >&2
	$(GO) build -o bin/rivals ./cmd/rivals
	bin/rivals $(ARGS)

bench-docker: ## how long a container takes to its first relayed packet, with one published port, 100 and 1,000; needs root and dockerd
	HAIRPIN_BENCH_DOCKER=1 $(GO) test -count 1 -timeout 30m -run '^TestEngine$$/^start$$' -v ./deploy/docker

image: ## container images IMAGE (hairpin) and IMAGE-one2one, compiled within the build (BuildKit); GOARCH=arm64 for another processor
	docker build $(IMAGE_ARGS) -t $(IMAGE) .
	docker build $(IMAGE_ARGS) --target one2one -t $(IMAGE)-one2one .

image-prebuilt: ## the same images from binaries that are compiled here: no registry; another GOARCH needs BuildKit
	CGO_ENABLED=0 GOOS=linux $(GO) build -trimpath $(IMAGE_FLAGS) -ldflags '-s -w -funcalign=8 $(LDFLAGS)' -o bin/image/ ./cmd/hairpin ./cmd/one2one
	docker build $(IMAGE_ARGS) -f Dockerfile --target prebuilt -t $(IMAGE) bin/image
	docker build $(IMAGE_ARGS) -f Dockerfile --target one2one-prebuilt -t $(IMAGE)-one2one bin/image

clean: ## remove what was built here
	rm -rf bin dist artifacts

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
