# Thin front door: every target is one script. `make help` lists them.
ARGS ?=

.PHONY: help demo test lint bench install clean

help:  ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1|/' | \
	  while IFS='|' read -r name text; do printf '  make %-8s %s\n' "$$name" "$$text"; done

demo:  ## Build, fetch the default model, serve it on loopback and ask it a question (ARGS=--once: then exit)
	@scripts/demo.sh $(ARGS)

test:  ## Build and run every test; the last line is "N passed, N failed"
	@scripts/test.sh $(ARGS)

lint:  ## Formatting, include edges, clang-tidy on changed files (ARGS=--all: on all files)
	@scripts/lint.sh $(ARGS)

bench:  ## Run the benchmarks that need no GPU
	@scripts/bench.sh $(ARGS)

install:  ## Install the programs and their annotated configuration (ARGS="--prefix DIR")
	@scripts/build.sh && cmake --install build/release $(ARGS)

clean:  ## Remove build output; the downloaded model stays
	rm -rf build
