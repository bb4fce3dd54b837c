# README's two commands. Both install what they need on a bare Debian 12 with a Rust toolchain.

.PHONY: up down test soak install lint

# Builds wharf, starts it in the background and deploys the sample service.
up: install
	cargo build --release --package wharf --package hello
	scripts/up.sh target/release

# Stops wharf and its tasks.
down:
	target/release/wharf down --tasks

# Everything that CI runs.
test: install
	scripts/test.sh

# The full counts: kills, bit flips, hostile requests, fuzzing.
soak: install
	WHARF_SOAK=1 scripts/test.sh

install:
	scripts/install.sh
