//! A bundle to look at, which is nowhere.

use crate::spec::{ContainerSpec, NetworkMode};

use super::Bundle;

pub(super) fn bundle() -> Bundle {
    Bundle {
        storage: None,
        directory: "/nonexistent/task/app".into(),
        run_dir: "/nonexistent/run".into(),
        program: None,
        runtime_id: "0".repeat(64),
        cgroup: "/wharf/task/app".to_owned(),
        netns: None,
        network: NetworkMode::Bridge,
        address: None,
        dns: Default::default(),
        sharing: Default::default(),
        pause: None,
        links: Vec::new(),
        console: None,
        spec: ContainerSpec::new("app", Vec::new(), vec!["true".to_owned()]),
    }
}
