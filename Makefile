# Oddlens: everything a person types. Each goal does its own set-up; a second run does only what is needed.

SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help serve dev test check dist setup setup-build cli bench screenshots clean FORCE
MAKEFLAGS += --no-builtin-rules

PORT ?= 8080
# folders stand in the list too, so that a removed file is noticed
PAGE_SOURCES := $(shell find src www weights -not -path '*/training*' -not -path '*/__pycache__*' \
	-not -name '*.py' -not -name screenshot.png 2>/dev/null | sed 's/ /\\ /g') \
	Cargo.toml Cargo.lock .cargo/config.toml $(wildcard Trunk.toml)

help: ## Say what can be made (this)
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' Makefile

serve: dist ## Build the page and serve it on this machine; PORT=8080
	@node scripts/serve.mjs --port $(PORT) dist

dev: setup-build ## The same, in a quick build, anew at every change (Trunk)
	@scripts/with-tools trunk serve --port $(PORT) --dist dist-dev

test: setup ## Run every check and test, as continuous integration does
	@scripts/test all

check: setup ## Run the quick ones: format, lints, native unit tests
	@scripts/test check

dist: setup-build dist/index.html ## Build the page for a static host, in dist/; MODEL=FILE or a name: with that model

dist/index.html: $(PAGE_SOURCES) | setup-build
	@# Trunk.toml keeps Trunk off the network, and Cargo with it: the crates come first
	@cargo fetch --locked --quiet
	$(if $(MODEL),ODDLENS_MODELS=dist-model/weights )scripts/with-tools trunk build --release

# MODEL is baked into dist/ as the model that the page begins with; the choice is kept, so that another one builds anew
ifneq ($(MODEL)$(wildcard dist-model/choice),)
dist/index.html: dist-model/choice
endif
ifneq ($(MODEL),)
dist/index.html: dist-model/weights/manifest.json
endif

dist-model/choice: FORCE
	@mkdir -p $(@D)
	@[ -f $@ ] && [ "$(MODEL)" = "$$(cat $@)" ] || printf '%s' "$(MODEL)" >$@

# what has come of a download stays
dist-model/weights/manifest.json: dist-model/choice $(wildcard $(MODEL))
	@rm -f $@ dist-model/weights/*.gguf dist-model/weights/*.gguf.part[0-9]*
	cargo run --release --locked --quiet --bin oddlens -- \
		model $(if $(wildcard $(MODEL)),add,fetch) "$(MODEL)" --out $(@D)

FORCE:

cli: ## Build the command-line tool
	cargo build --release --locked --bin oddlens

bench: dist setup cli ## Time it against onnxruntime-web, onnxruntime and transformers; ROUNDS=3
	@benches/peer/setup
	@node benches/peer/bench.mjs

screenshots: dist setup ## Take the README's picture again
	@node tests/e2e/screenshot.mjs

setup: ## Install what is missing (also done by every other goal)
	@scripts/setup test

setup-build:
	@scripts/setup build

clean: ## Remove what was built (the installed tools stay)
	rm -rf dist dist-dev dist-model tests/e2e/screenshots
	cargo clean
