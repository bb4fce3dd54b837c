//! What a runtime is opened with.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use crate::protocol::OciProgram;
use crate::spec::{self, Ipv4Cidr};

/// Which OCI runtime makes the containers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OciRuntime {
    /// youki's libcontainer, inside this program.
    Embedded,
    /// crun at this path.
    Crun(PathBuf),
    /// runc at this path.
    Runc(PathBuf),
    /// Another runtime with runc's command line: program and global arguments.
    Custom {
        /// The program.
        path: PathBuf,
        /// Arguments before the subcommand.
        args: Vec<String>,
    },
}

impl OciRuntime {
    pub(crate) fn program(&self) -> Option<OciProgram> {
        match self {
            Self::Embedded => None,
            Self::Crun(path) | Self::Runc(path) => {
                Some(OciProgram { path: path.clone(), args: Vec::new() })
            }
            Self::Custom { path, args } => {
                Some(OciProgram { path: path.clone(), args: args.clone() })
            }
        }
    }

    /// The oldest versions without the known ways out of a container: the name in the first line
    /// of `--version`, and the lowest number of each maintained line.
    pub(crate) fn minimum(&self) -> Option<(&'static str, &'static [[u32; 3]])> {
        match self {
            Self::Crun(_) => Some(("crun", &[[1, 27, 0]])),
            Self::Runc(_) => Some(("runc", &[[1, 3, 6], [1, 4, 3]])),
            Self::Embedded | Self::Custom { .. } => None,
        }
    }
}

/// What a runtime is opened with.
#[derive(Debug, Clone)]
pub struct RuntimeOptions {
    /// Where sandboxes, bundles and logs are kept: an absolute path on a file system that can be
    /// an overlay's upper directory.
    pub root: PathBuf,
    /// Where state lies that needn't survive a reboot: `/run/wharf/<instance>`.
    pub run_dir: PathBuf,
    /// 1 to 8 lower-case letters and digits that tell several wharfs on one host apart: names the
    /// bridges, the nft table and the cgroup root.
    pub instance: String,
    /// The OCI runtime.
    pub oci_runtime: OciRuntime,
    /// Others by name ([`runtime_class`](crate::SandboxSpec::runtime_class)).
    pub classes: BTreeMap<String, OciRuntime>,
    /// Takes an OCI runtime that is older than its known holes.
    pub allow_old_runtime: bool,
    /// The built-in VPC's block.
    pub vpc_cidr: Ipv4Cidr,
    /// The bridge network's block; `None` takes the first free one and keeps it.
    pub bridge_cidr: Option<Ipv4Cidr>,
    /// The range of dynamic host ports.
    pub dynamic_ports: RangeInclusive<u16>,
}

impl RuntimeOptions {
    /// Options with the embedded runtime, VPC 10.113.0.0/16 and ports 32768 to 60999.
    pub fn new(root: impl Into<PathBuf>, instance: impl Into<String>) -> Result<Self, spec::Error> {
        let instance = instance.into();
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        if !(1..=8).contains(&instance.len()) || !instance.chars().all(plain) {
            return Err(spec::Error::InvalidInstance(instance));
        }
        Ok(Self {
            root: root.into(),
            run_dir: PathBuf::from("/run/wharf").join(&instance),
            instance,
            oci_runtime: OciRuntime::Embedded,
            classes: BTreeMap::new(),
            allow_old_runtime: false,
            vpc_cidr: Ipv4Cidr::new(Ipv4Addr::new(10, 113, 0, 0), 16)?,
            bridge_cidr: None,
            dynamic_ports: 32768..=60999,
        })
    }

    /// The OCI runtime of a sandbox.
    pub(crate) fn runtime_of(&self, class: Option<&str>) -> &OciRuntime {
        class.and_then(|class| self.classes.get(class)).unwrap_or(&self.oci_runtime)
    }

    /// The cgroup above all tasks of this wharf.
    pub(crate) fn cgroup_root(&self) -> String {
        format!("/wharf-{}", self.instance)
    }
}
