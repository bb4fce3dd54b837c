"""Root file systems made of Debian's packages, which are downloaded and unpacked, never installed."""

import contextlib
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

AWS_CLI_2 = ["awscli", "python3-awscrt", "python3-cffi-backend", "python3-colorama", "python3-cryptography",
             "python3-dateutil", "python3-distro", "python3-docutils", "python3-jmespath", "python3-prompt-toolkit",
             "python3-roman", "python3-ruamel.yaml", "python3-ruamel.yaml.clib", "python3-six", "python3-urllib3",
             "python3-wcwidth"]

_downloads = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "debs"


def unpack(root, packages):
    """Unpacks the packages below `root`."""
    for package in packages:
        directory = _downloads / package
        if not list(directory.glob("*.deb")):
            _download([package], directory)
        (deb,) = directory.glob("*.deb")
        subprocess.run(["dpkg-deb", "--extract", deb, root], check=True)


def aws_cli_2():
    """The command line of the aws CLI 2: `logs tail` and the like, which PyPI's doesn't have."""
    root = _downloads / "aws-cli-2"
    if not root.exists():
        # In one go: asking for each would take longer than all the rest.
        debs, beside = (root.with_name(f".aws-cli-2-{name}-{os.getpid()}") for name in ("debs", "root"))
        _download(AWS_CLI_2, debs)
        for deb in debs.glob("*.deb"):
            subprocess.run(["dpkg-deb", "--extract", deb, beside], check=True)
        shutil.rmtree(debs)
        with contextlib.suppress(OSError):
            # Another run that unpacked the same was first.
            beside.rename(root)
        shutil.rmtree(beside, ignore_errors=True)
    packages = root / "usr/lib/python3/dist-packages"
    return ["env", f"PYTHONPATH={packages}", "/usr/bin/python3", root / "usr/bin/aws"]


def _download(packages, directory):
    # Beside another run that downloads the same: the last to end wins.
    beside = directory.with_name(f".{directory.name}-{os.getpid()}")
    beside.mkdir(parents=True)
    download = ["apt-get", "download", "-qq", "-o", "APT::Sandbox::User=root", *packages]
    result = subprocess.run(download, cwd=beside, capture_output=True, text=True)
    if result.returncode != 0:
        # The lists may be missing, or older than what the mirror has.
        subprocess.run(["apt-get", "update", "-qq"], check=True, capture_output=True)
        result = subprocess.run(download, cwd=beside, capture_output=True, text=True)
    assert result.returncode == 0, f"apt-get download {' '.join(packages)}: {result.stderr}"
    shutil.rmtree(directory, ignore_errors=True)
    beside.rename(directory)
