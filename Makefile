# make run and make test are all that a fresh machine needs; make help lists the rest.
SHELL := /bin/bash
GO ?= go
LINT := bin/golangci-lint

.PHONY: help
help: ## list the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

.PHONY: build
build: bin/isolde bin/runsc ## build bin/isolde and bin/runsc

.PHONY: bin/isolde
bin/isolde:
	$(GO) build -trimpath -ldflags "-s -w" -o $@ ./cmd/isolde

# gVisor is a module of its own and takes two minutes to build, once.
bin/runsc: tools/runsc/go.mod tools/runsc/go.sum
	CGO_ENABLED=0 $(GO) build -C tools/runsc -trimpath -ldflags "-s -w" -o $(CURDIR)/$@ gvisor.dev/gvisor/runsc

$(LINT): tools/lint/go.mod tools/lint/go.sum
	$(GO) build -C tools/lint -trimpath -o $(CURDIR)/$@ github.com/golangci/golangci-lint/v2/cmd/golangci-lint

.PHONY: run
run: build ## start a server, deploy and invoke examples/python-streaming; Ctrl-C stops all
	@scripts/prerequisites python
	@scripts/run

# Packages that start sandboxes run one by one, as they look for what is left on the machine.
# End to end, servers run as users have them, without the race detector.
SANDBOXES := /(image|network|sandbox|server|internal)(/|$$)
.PHONY: test
test: build ## run all tests, installing what they need
	@scripts/prerequisites python node
	$(GO) test -race -timeout 40m $$($(GO) list ./... | grep -vE '/test$$|$(SANDBOXES)')
	$(GO) test -race -p 1 -timeout 40m $$($(GO) list ./... | grep -E '$(SANDBOXES)')
	$(GO) test -timeout 40m ./test
	scripts/test-modules

.PHONY: race
race: build ## run the end-to-end tests under the race detector, which takes long
	@scripts/prerequisites python node
	$(GO) test -race -timeout 60m ./test

.PHONY: lint
lint: $(LINT) ## check style and the imports that are forbidden
	$(LINT) run ./...
	cd agent && $(CURDIR)/$(LINT) run ./...
	cd agent/protocols && $(CURDIR)/$(LINT) run ./...

.PHONY: fmt
fmt: $(LINT) ## format the Go code
	$(LINT) fmt ./...
	cd agent && $(CURDIR)/$(LINT) fmt ./...
	cd agent/protocols && $(CURDIR)/$(LINT) fmt ./...

.PHONY: bench
bench: build ## measure; bench/RESULTS.md says what and how
	@scripts/prerequisites python proxies
	$(GO) test -run '^$$' -bench . -benchtime 20x -timeout 30m ./bench

.PHONY: clean
clean: ## remove what was built
	rm -rf bin
