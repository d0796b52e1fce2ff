# Thin front door: every target is one script. `make help` lists them.
ARGS ?=

.PHONY: help demo test test-deploy test-images images lint bench bundle install clean

help:  ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1|/' | \
	  while IFS='|' read -r name text; do printf '  make %-11s %s\n' "$$name" "$$text"; done

demo:  ## Build, fetch the default model, serve it on loopback and ask it a question (ARGS=--once: then exit)
	@scripts/demo.sh $(ARGS)

test:  ## Build and run every test; the last line is "N passed, N failed"
	@scripts/test.sh $(ARGS)

test-deploy:  ## Only the tests of the chart, the dashboards and the rules
	@scripts/test.sh --deploy $(ARGS)

images:  ## Build the images with podman, buildah or docker (ARGS="--registry PREFIX --cuda")
	@scripts/images.sh $(ARGS)

test-images:  ## Build the images and run the chart with podman
	@scripts/test_images.sh $(ARGS)

lint:  ## Formatting, include edges, clang-tidy on changed files (ARGS=--all: on all files)
	@scripts/lint.sh $(ARGS)

bench:  ## Run the benchmarks that need no GPU
	@scripts/bench.sh $(ARGS)

bundle:  ## Pack the programs with their libraries into one archive (ARGS="--out DIR --cuda")
	@scripts/bundle.sh $(ARGS)

install:  ## Install the programs and their annotated configuration (ARGS="--prefix DIR")
	@scripts/build.sh && cmake --install build/release $(ARGS)

clean:  ## Remove build output; the downloaded model stays
	rm -rf build
