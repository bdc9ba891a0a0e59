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

export GO PKG FUZZTIME

.DEFAULT_GOAL := help
.PHONY: run demo build test fuzz check generate bench bench-rivals image clean help

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

fuzz: ## only the fuzz targets; FUZZTIME=1m for a longer search
	@.ci/fuzz

check: ## format, vet, staticcheck, known vulnerabilities, other platforms, repository rules, generated files, modules, unit file
	@.ci/check

generate: ## write the generated files again
	$(GO) generate ./...

bench: ## Go benchmarks, COUNT (5) times each, ready for benchstat; BENCH=Hairpin and PKG=./relay/... narrow it
	$(GO) test -run '^$$' -bench '$(BENCH)' -benchmem -count $(COUNT) $(PKG)

bench-rivals: build ## hairpin beside coturn, pion/turn and a bare loop, on loopback; writes cmd/rivals/results.*; ARGS="--rounds 3"
	@cc -O2 -o bin/bare-loop testdata/bare/loop.c || echo "SKIPPED: bare loop: it needs a C compiler" >&2
	$(GO) build -o bin/rivals ./cmd/rivals
	bin/rivals $(ARGS)

image: ## container image IMAGE (hairpin), from scratch
	docker build --build-arg VERSION=$(VERSION) -t $(IMAGE) .

clean: ## remove what was built here
	rm -rf bin dist artifacts

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
