# README's two commands are `make up` and `make test`. Both install what they need on a bare
# Debian 12 with a Rust toolchain.

TARGET := $(or $(CARGO_TARGET_DIR),target)
SUDO := $(shell test "$$(id -u)" = 0 || echo sudo)

.PHONY: up down test soak lint deny install install-tests

# Builds wharf, starts it in the background and deploys the sample service.
up: install
	cargo build --release --package wharf --package hello
	scripts/up.sh $(TARGET)/release

# Stops wharf and its tasks; the data directory stays.
down:
	$(SUDO) $(TARGET)/release/wharf down --tasks

# Everything that CI runs.
test: install-tests
	scripts/test.sh

# The full counts: kills, bit flips, hostile requests, fuzzing.
soak: install-tests
	WHARF_SOAK=1 scripts/test.sh

# The checks that need no run: formatting, clippy, layers and sizes.
lint:
	scripts/test.sh lint

# Licences, bans, sources and advisories of the dependencies; the last want the internet.
deny: install
	scripts/test.sh deny advisories

install:
	scripts/install.sh

install-tests:
	scripts/install.sh tests
