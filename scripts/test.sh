#!/usr/bin/env bash
# Everything that CI runs, from the cheapest check to the story with real clients. A failing step
# ends the run and names itself.
#
#   scripts/test.sh              all steps
#   scripts/test.sh lint         formatting, layers and sizes, clippy
#   scripts/test.sh STEP...      the steps named: format cases tidy deny codegen build rust e2e clippy
#                                fuzz advisories
#
# WHARF_SOAK=1 runs the full counts, and fuzzes each target for five minutes.
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH="$PWD/target/venv/bin:$PATH"
export RUSTC_WORKSPACE_WRAPPER=clippy-driver
target=${CARGO_TARGET_DIR:-target}
begun=$SECONDS

say() { printf '\033[1m==> %s\033[0m\n' "$*" >&2; }

# The tests exercise containers, networks and cgroups for real.
as_root=()
kept=PATH,HOME,CARGO_HOME,RUSTUP_HOME,CARGO_TARGET_DIR,RUSTC_WORKSPACE_WRAPPER,WHARF_SOAK
((EUID == 0)) || as_root=(sudo "--preserve-env=$kept")

run_format() { cargo fmt --all --check; }
run_tidy() { cargo xtask tidy; }
run_cases() { cargo xtask fetch-cases; }
run_codegen() { cargo xtask codegen --check; }
run_clippy() {
  env -u RUSTC_WORKSPACE_WRAPPER cargo clippy --workspace --all-targets --quiet -- -D warnings
}

# Binaries, tests and examples in one go, so that the dependencies have the same features in all of
# them and are built once; by clippy's driver, whose own step would look at the dependencies again.
run_build() {
  mkdir -p "$target"
  cargo build --workspace --bins --tests --examples 2>&1 | tee "$target/build.log" >&2 ||
    return
  # Cargo repeats the warnings of what it has built before.
  if grep -q '^warning' "$target/build.log"; then
    say "warnings are errors here"
    return 1
  fi
}

run_rust() {
  if cargo nextest --version >/dev/null 2>&1; then
    "${as_root[@]}" env "PATH=$PATH" cargo nextest run --workspace --no-fail-fast \
      --status-level fail --final-status-level fail
  else
    say "cargo-nextest is missing: running cargo test instead"
    "${as_root[@]}" env "PATH=$PATH" cargo test --workspace --no-fail-fast --quiet
  fi
}

run_e2e() {
  local missing=()
  for tool in terraform skopeo docker-registry crun runc; do
    command -v "$tool" >/dev/null || missing+=("$tool")
  done
  ((${#missing[@]})) && say "MISSING: ${missing[*]}: the tests that need them say so and don't count"
  # Each module has a wharf of its own, and waits more than it works: three at once keep two cores busy.
  # The full counts print figures, so they run one by one.
  local workers=(--numprocesses 3 --dist loadfile)
  [[ -z ${WHARF_SOAK:-} ]] || workers=()
  "${as_root[@]}" env "PATH=$PATH" "WHARF_BIN=$(realpath "$target")/debug" \
    target/venv/bin/pytest -q -rs --durations=10 "${workers[@]}" tests/e2e
}

# Licences, bans and sources of the dependencies.
run_deny() {
  cargo deny --log-level error check --allow duplicate licenses bans sources
}

# RustSec's database lies on GitHub; where that can't be reached, this says so and passes.
run_advisories() {
  if cargo deny --log-level off fetch db 2>/dev/null; then
    cargo deny --log-level warn check --disable-fetch advisories
  else
    say "MISSING: RustSec's database can't be fetched: the dependencies' advisories aren't checked"
  fi
}

# Five minutes for each target, two at a time. New inputs go below target/, not into the corpora. A
# stable toolchain does, when it is told that it may use what isn't stable.
run_fuzz() {
  # What is fuzzed is optimised.
  unset RUSTC_WORKSPACE_WRAPPER
  # cargo-fuzz asks for one unit, which makes the generated shapes wait long for one core.
  export RUSTC_BOOTSTRAP=1 RUSTFLAGS=-Ccodegen-units=16
  # Nothing that is fuzzed has unsafe code: panics, hangs and memory without bound are looked for.
  cargo fuzz build --sanitizer none || return
  cargo fuzz list | "${as_root[@]}" env "PATH=$PATH" RUSTC_BOOTSTRAP=1 \
    "RUSTFLAGS=$RUSTFLAGS" \
    xargs -P 2 -I '{}' scripts/fuzz.sh '{}' "${WHARF_FUZZ_SECONDS:-300}"
}

step() {
  local started=$SECONDS
  say "$1"
  if "run_$1"; then
    printf '    %s: %s s\n' "$1" "$((SECONDS - started))" >&2
  else
    say "FAILED: $1 (again alone: scripts/test.sh $1)"
    exit 1
  fi
}

steps=("$@")
if ((${#steps[@]} == 0)); then
  steps=(format cases tidy deny codegen build rust e2e)
  [[ -z ${WHARF_SOAK:-} ]] || steps+=(fuzz)
elif [[ ${steps[*]} == lint ]]; then
  steps=(format tidy clippy)
fi
for name in "${steps[@]}"; do
  declare -F "run_$name" >/dev/null || {
    echo "test.sh: no step called $name: see the top of $0" >&2
    exit 2
  }
  step "$name"
done
say "all passed in $((SECONDS - begun)) s"
