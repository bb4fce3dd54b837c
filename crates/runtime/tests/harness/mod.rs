//! A runtime of its own for each test, which takes everything away again, also when it fails.

#![allow(dead_code, clippy::unwrap_used)]

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use wharf_runtime::spec::{Ipv4Cidr, Sharing};
use wharf_runtime::{
    ContainerSpec, NetworkMode, OciRuntime, Runtime, RuntimeOptions, SandboxId, SandboxSpec, Zygote,
};

/// What tests wait for at most.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// A runtime and the directory that it lives in.
pub struct Host {
    pub directory: tempfile::TempDir,
    pub options: RuntimeOptions,
    pub runtime: Runtime,
    ended: AtomicBool,
}

/// The OCI runtimes that every suite runs with.
pub fn oci_runtimes() -> Vec<OciRuntime> {
    vec![
        OciRuntime::Embedded,
        OciRuntime::Crun(PathBuf::from("/usr/bin/crun")),
        OciRuntime::Runc(PathBuf::from("/usr/sbin/runc")),
    ]
}

impl Host {
    pub async fn new() -> Self {
        Self::with(OciRuntime::Embedded).await
    }

    pub async fn with(oci_runtime: OciRuntime) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let number = std::process::id() % 100_000;
        let salt = directory.path().as_os_str().len();
        let unique = directory
            .path()
            .to_string_lossy()
            .bytes()
            .fold(number, |hash, byte| hash.wrapping_mul(31).wrapping_add(u32::from(byte)));
        let instance = format!("t{:07x}", unique.wrapping_add(salt as u32) & 0x0fff_ffff);
        let mut options = RuntimeOptions::new(directory.path().join("data"), instance).unwrap();
        options.oci_runtime = oci_runtime;
        options.allow_old_runtime = true;
        // Tests run side by side: where another one has the block, the next is tried.
        let mut attempt = 0;
        let runtime = loop {
            let salt = unique.wrapping_add(attempt * 7919);
            let block = Ipv4Addr::new(100, 64 + (salt % 64) as u8, (salt >> 8) as u8 & 0xf0, 0);
            options.vpc_cidr = Ipv4Cidr::new(block, 20).unwrap();
            match Runtime::open(options.clone(), Zygote::this_program()).await {
                Err(wharf_runtime::Error::Net(wharf_runtime::net::Error::Overlap { .. }))
                    if attempt < 50 =>
                {
                    attempt += 1;
                }
                other => break other.unwrap(),
            }
        };
        Self { directory, options, runtime, ended: AtomicBool::new(false) }
    }

    /// Opens the data directory again, as after a restart.
    pub async fn reopen(&mut self) {
        self.runtime = Runtime::open(self.options.clone(), Zygote::this_program()).await.unwrap();
    }

    pub async fn sandbox(&self, id: &str, network: NetworkMode) -> SandboxId {
        self.sharing_sandbox(id, network, Sharing::default()).await
    }

    pub async fn sharing_sandbox(
        &self,
        id: &str,
        network: NetworkMode,
        sharing: Sharing,
    ) -> SandboxId {
        let id = SandboxId::new(id).unwrap();
        let spec = SandboxSpec {
            id: id.clone(),
            network,
            resources: Default::default(),
            dns: Default::default(),
            sharing,
            memory_volumes: Default::default(),
            storage: None,
            runtime_class: None,
            labels: Default::default(),
        };
        self.runtime.create_sandbox(spec).await.unwrap();
        id
    }

    /// A busybox root file system, made once.
    pub fn rootfs(&self) -> PathBuf {
        let root = self.directory.path().join("layer");
        if !root.exists() {
            busybox(&root);
        }
        root
    }

    pub fn shell(&self, name: &str, script: &str) -> ContainerSpec {
        let args = ["/bin/sh", "-c", script].map(String::from).to_vec();
        ContainerSpec::new(name, vec![self.rootfs()], args)
    }

    /// Makes and starts a container.
    pub async fn start(&self, task: &SandboxId, spec: ContainerSpec) {
        let name = spec.name.clone();
        self.runtime.create_container(task, spec).await.unwrap();
        self.runtime.start_container(task, &name).await.unwrap();
    }

    /// Runs a container to its end and answers its exit code and output.
    pub async fn probe(&self, task: &SandboxId, spec: ContainerSpec) -> (i32, String) {
        let name = spec.name.clone();
        self.start(task, spec).await;
        let exit = self.runtime.wait_container(task, &name).await.unwrap();
        (exit.code, log_text(self, task, &name))
    }

    pub async fn end(self) {
        let report = self.runtime.teardown().await.unwrap();
        assert!(report.failed.is_empty(), "{report:?}");
        self.ended.store(true, Ordering::Relaxed);
    }
}

impl Drop for Host {
    /// A test that failed leaves nothing behind either.
    fn drop(&mut self) {
        if self.ended.load(Ordering::Relaxed) {
            return;
        }
        let runtime = self.runtime.clone();
        let clean = move || {
            let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            tokio
                .block_on(async { drop(tokio::time::timeout(DEADLINE, runtime.teardown()).await) });
        };
        let _ = std::thread::spawn(clean).join();
    }
}

pub fn busybox(root: &Path) {
    for directory in ["bin", "etc", "tmp", "root"] {
        std::fs::create_dir_all(root.join(directory)).unwrap();
    }
    std::fs::copy("/bin/busybox", root.join("bin/busybox")).unwrap();
    let listing = std::process::Command::new("/bin/busybox").arg("--list").output().unwrap();
    for name in String::from_utf8(listing.stdout).unwrap().lines() {
        let _ = std::os::unix::fs::symlink("busybox", root.join("bin").join(name));
    }
    std::fs::write(
        root.join("etc/passwd"),
        "root:x:0:0::/root:/bin/sh\nweb:x:33:33::/tmp:/bin/sh\n",
    )
    .unwrap();
    std::fs::write(root.join("etc/group"), "root:x:0:\nweb:x:33:\nextra:x:44:web\n").unwrap();
}

/// Waits until `check` answers something.
pub async fn until<T>(what: &str, mut check: impl AsyncFnMut() -> Option<T>) -> T {
    let begun_at = Instant::now();
    loop {
        if let Some(found) = check().await {
            return found;
        }
        assert!(begun_at.elapsed() < DEADLINE, "waited too long for {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A container's log as text, streams mixed.
pub fn log_text(host: &Host, sandbox: &SandboxId, name: &str) -> String {
    let text = std::fs::read_to_string(host.runtime.log_path(sandbox, name)).unwrap_or_default();
    text.lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .map(|line| line["log"].as_str().unwrap().to_owned())
        .collect()
}
