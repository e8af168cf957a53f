# make demo    set up, run the main job with the built-in image, clean up
# make test    install what the tests need, run all of them
# make check   formatting, vet, lint, generated files, budgets: what CI runs first
# make bench   side by side with the peers, in one run; prints ratios
# make testkernel  the wrapper for go test -exec that stands for another kernel
# make kernels  the kernels that the wrapper knows by name, downloaded or built
# make test-kernels  the tests in each of them (KERNELS=bare,arm64: in these)
# make test-inits  units under each init system, some of them as process 1 in QEMU
# make dist    the files of a release, made twice and compared, each binary tried (as root)

GO       ?= go
BIN      := bin/coracle
VERSION  := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
COMMIT   := $(shell git rev-parse HEAD 2>/dev/null || echo unknown)
# The time of the commit, or what https://reproducible-builds.org/specs/source-date-epoch says.
EPOCH    := $(or $(SOURCE_DATE_EPOCH),$(shell git log -1 --format=%ct 2>/dev/null || echo 0))
DATE     := $(shell date -u -d @$(EPOCH) +%Y-%m-%dT%H:%M:%SZ)
# urfave_cli_no_docs leaves out a Markdown renderer that costs 0.3 ms at every start.
TAGS     := urfave_cli_no_docs
# The product, and not the tests, has -checklinkname=0 and the tag that goes with it:
# internal/sys/rest_linkname.go.
BINTAGS  := $(TAGS),coracle_linkname
LDFLAGS  := -checklinkname=0 -s -w -X coracle/internal/version.Version=$(VERSION) -X coracle/internal/version.Commit=$(COMMIT) -X coracle/internal/version.Date=$(DATE)
GOFILES  := $(shell git ls-files '*.go' 2>/dev/null)

# Kernels of testkernel/kernels/kernels.tsv, joined by commas, and which packages
# of testkernel/suite run in them: all, those of make test, and those of CI, of
# which it builds three.
KERNELS        ?= all
PACKAGES       ?=
QUICK_KERNELS  := bookworm,bare,arm64
QUICK_PACKAGES := findings,testkernel/suite
CI_KERNELS     := bookworm,arm64,bare,no-overlay,no-tun

# What makes the binary 4 MB smaller and its start shorter: see internal/slim.
OVERLAY  := build/slim/overlay.json

export CGO_ENABLED = 0

all: $(BIN)

$(BIN): FORCE
	@$(GO) run ./internal/slim $(dir $(OVERLAY))
	$(GO) build -trimpath -overlay $(OVERLAY) -tags $(BINTAGS) -ldflags '$(LDFLAGS)' -o $@ ./cmd/coracle

demo: $(BIN)
	@./internal/demo/demo.sh $(abspath $(BIN))

test: $(BIN)
	@./internal/needs/install.sh
	CORACLE=$(abspath $(BIN)) $(GO) tool gotestsum --format testname --hide-summary output -- \
	  -overlay $(abspath $(OVERLAY)) -tags $(TAGS) -count=1 -p 1 -timeout 20m ./...
	$(GO) run ./testkernel/matrix -nosys 2.6.32 -kernels $(QUICK_KERNELS) -packages $(QUICK_PACKAGES)

check:
	@files="$$(gofmt -l $(GOFILES))"; [ -z "$$files" ] || { echo "not gofmt'ed: $$files" >&2; exit 1; }
	$(GO) mod verify >/dev/null
	$(GO) vet -tags $(TAGS) ./...
	GOARCH=386 $(GO) vet -tags $(TAGS) ./...
	GOARCH=arm $(GO) vet -tags $(TAGS) ./...
	GOARCH=arm64 $(GO) vet -tags $(TAGS) ./...
	$(GO) tool staticcheck -tags $(TAGS) ./...
	$(GO) run ./cmd/gendocs -check
	$(GO) test -count=1 ./internal/house/

bench: $(BIN)
	@./internal/needs/install.sh bench
	@$(GO) run ./internal/bench -coracle $(abspath $(BIN))

testkernel:
	$(GO) build -trimpath -o bin/testkernel ./testkernel

kernels:
	@./internal/needs/install.sh
	$(GO) run ./testkernel -get $(KERNELS)

# The table in the README is that of a run over all.
test-kernels:
	@./internal/needs/install.sh
	$(GO) run ./testkernel/matrix -nosys 2.6.32,3.2,3.10,4.4 -kernels $(KERNELS) -packages '$(PACKAGES)' $(if $(filter all,$(KERNELS)),-readme README.md)

test-kernels-ci:
	$(MAKE) test-kernels KERNELS=$(CI_KERNELS) PACKAGES=$(QUICK_PACKAGES)

# Units under each init system, systemd and System V's as process 1 in QEMU, a
# hundred rounds of stop and start.
test-inits: $(BIN)
	@./internal/needs/install.sh
	CORACLE=$(abspath $(BIN)) CORACLE_INITS=all CORACLE_INIT_ROUNDS=100 $(GO) test -tags $(TAGS) -count=1 -timeout 60m ./internal/inits

test-inits-ci: $(BIN)
	CORACLE=$(abspath $(BIN)) CORACLE_INITS=systemd $(GO) test -v -tags $(TAGS) -count=1 -timeout 30m -run '^TestSystemd$$' ./internal/inits

dist:
	$(GO) run ./crossbuild -dir dist -twice -version '$(VERSION)' -epoch $(EPOCH) -tags $(BINTAGS) -ldflags '$(LDFLAGS)'

clean:
	rm -rf bin dist build

.PHONY: all demo test check bench testkernel kernels test-kernels test-kernels-ci test-inits test-inits-ci dist clean FORCE
FORCE:
