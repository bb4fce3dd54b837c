#!/usr/bin/env bash
# Everything that CI runs, from the cheapest check to the story with real clients. A failing step
# ends the run and names itself. `WHARF_SOAK=1` runs the full counts.
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH="$PWD/target/venv/bin:$PATH"

step() {
  local started=$SECONDS name=$1
  shift
  printf '\033[1m==> %s\033[0m\n' "$name" >&2
  "$@" || { printf '\033[1m==> FAILED: %s\033[0m\n' "$name" >&2; exit 1; }
  printf '    %s: %s s\n' "$name" "$((SECONDS - started))" >&2
}

tests() {
  if cargo nextest --version >/dev/null 2>&1; then
    cargo nextest run --workspace --no-fail-fast "$@"
  else
    cargo test --workspace --no-fail-fast "$@"
  fi
}

step "formatting" cargo fmt --all --check
step "botocore's protocol cases" cargo xtask fetch-cases
step "generated code is what the models say" cargo xtask codegen --check
step "layers, sizes, names" cargo xtask tidy
step "clippy" cargo clippy --workspace --all-targets --quiet -- -D warnings
step "tests" tests
step "the binaries" cargo build --package wharf --package hello
step "the story with real clients" target/venv/bin/pytest -q tests/e2e
