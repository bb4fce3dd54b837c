//! The Docker Engine API structures whose JSON text [`super::DockerConfig`] carries: the part that
//! ECS fills from a task definition. Members that aren't here are ignored when reading.

use std::collections::BTreeMap;

/// A member is written only where it says something.
macro_rules! docker {
    (
        $(#[$doc:meta])*
        $name:ident { $($(#[$attribute:meta])* $field:ident: $type:ty,)* }
    ) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Default, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(rename_all = "PascalCase", default)]
        pub struct $name {
            $(
                #[doc = concat!("Member `", stringify!($field), "`.")]
                $(#[$attribute])*
                #[serde(skip_serializing_if = "Option::is_none")]
                pub $field: Option<$type>,
            )*
        }

        impl $name {
            /// The structure as JSON text.
            ///
            /// # Errors
            /// None for these members; serde's signature.
            pub fn to_json(&self) -> Result<String, serde_json::Error> {
                serde_json::to_string(self)
            }

            /// Reads JSON text.
            ///
            /// # Errors
            /// Text that is no JSON, or members of another form.
            pub fn from_json(text: &str) -> Result<Self, serde_json::Error> {
                serde_json::from_str(text)
            }
        }
    };
}

docker! {
    /// `Config` of a container.
    Config {
        user: String,
        working_dir: String,
        hostname: String,
        domainname: String,
        labels: BTreeMap<String, String>,
        healthcheck: HealthCheck,
        stop_signal: String,
        tty: bool,
        open_stdin: bool,
        attach_stdin: bool,
        network_disabled: bool,
    }
}

docker! {
    /// A health check; durations in nanoseconds.
    HealthCheck {
        test: Vec<String>,
        interval: i64,
        timeout: i64,
        start_period: i64,
        retries: i64,
    }
}

docker! {
    /// `HostConfig` of a container; memory in bytes.
    HostConfig {
        network_mode: String,
        cap_add: Vec<String>,
        cap_drop: Vec<String>,
        log_config: LogConfig,
        ulimits: Vec<Ulimit>,
        dns: Vec<String>,
        dns_search: Vec<String>,
        extra_hosts: Vec<String>,
        privileged: bool,
        readonly_rootfs: bool,
        security_opt: Vec<String>,
        memory: i64,
        memory_reservation: i64,
        memory_swap: i64,
        memory_swappiness: i64,
        init: bool,
        shm_size: i64,
        devices: Vec<DeviceMapping>,
        tmpfs: BTreeMap<String, String>,
        sysctls: BTreeMap<String, String>,
        pid_mode: String,
        ipc_mode: String,
        volumes_from: Vec<String>,
    }
}

docker! {
    /// A log driver and its options.
    LogConfig {
        #[serde(rename = "Type")]
        kind: String,
        config: BTreeMap<String, String>,
    }
}

docker! {
    /// A resource limit.
    Ulimit {
        name: String,
        soft: i64,
        hard: i64,
    }
}

docker! {
    /// A device of the host (`rwm`).
    DeviceMapping {
        path_on_host: String,
        path_in_container: String,
        cgroup_permissions: String,
    }
}
