"""Root file systems made of Debian's packages, which are downloaded and unpacked, never installed."""

import os
import pathlib
import shutil
import subprocess

from conftest import ROOT

# Every package whose files are needed, dependencies included: what is left out isn't run.
NGINX = ["nginx", "nginx-common", "libc6", "libcrypt1", "libpcre2-8-0", "libssl3", "zlib1g"]
REDIS = ["redis-server", "redis-tools", "libatomic1", "libc6", "libcap2", "libgcc-s1", "libgcrypt20", 
         "libgpg-error0", "libjemalloc2", "liblua5.1-0", "liblz4-1", "liblzf1", "liblzma5", "libssl3", "libstdc++6",
         "libsystemd0", "libzstd1", "lua-bitop", "lua-cjson", "zlib1g"]

_downloads = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "debs"


def unpack(root, packages):
    """Unpacks the packages below `root`."""
    for package in packages:
        directory = _downloads / package
        if not list(directory.glob("*.deb")):
            _download(package, directory)
        (deb,) = directory.glob("*.deb")
        subprocess.run(["dpkg-deb", "--extract", deb, root], check=True)


def _download(package, directory):
    # Beside another run that downloads the same: the last to end wins.
    beside = directory.with_name(f".{package}-{os.getpid()}")
    beside.mkdir(parents=True)
    download = ["apt-get", "download", "-qq", "-o", "APT::Sandbox::User=root", package]
    result = subprocess.run(download, cwd=beside, capture_output=True, text=True)
    if result.returncode != 0:
        # The lists may be missing, or older than what the mirror has.
        subprocess.run(["apt-get", "update", "-qq"], check=True, capture_output=True)
        result = subprocess.run(download, cwd=beside, capture_output=True, text=True)
    assert result.returncode == 0, f"apt-get download {package}: {result.stderr}"
    shutil.rmtree(directory, ignore_errors=True)
    beside.rename(directory)
