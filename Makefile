# `make test` runs everything that has to pass. The other targets are for work on the project.
.PHONY: help test check demo bench fuzz

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-6s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

test: ## Everything that has to pass, from nothing; installs what it needs
	@scripts/test

check: ## Format, lints and unit tests, while writing
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	cargo test --workspace --lib --locked

demo: ## What a pick per request is worth, measured here in half a minute
	cargo run --release --locked -- demo

bench: ## Every bench with its goals, on an otherwise idle machine
	@scripts/bench

SECONDS = 20
fuzz: ## Every fuzz target and the Kubernetes source, SECONDS each (default 20)
	@scripts/fuzz $(SECONDS)
	@scripts/kubernetes-fuzz $(SECONDS)
