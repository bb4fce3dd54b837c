//! A task as ACS carries it: the structures below a payload.

use std::collections::BTreeMap;

use crate::agent_message::message;

/// String keys to string values.
pub type StringMap = BTreeMap<String, String>;

message! {
    /// A task with everything that the agent needs to run it. To stop one, `arn` and
    /// `desiredStatus` are enough.
    Task {
        arn: String,
        family: String,
        version: String,
        task_definition_account_id: String,
        task_cluster_arn: String,
        desired_status: String,
        containers: Vec<Container>,
        volumes: Vec<Volume>,
        overrides: String,
        zone: String,
        cpu: f64,
        memory: i64,
        role_credentials: IAMRoleCredentials,
        execution_role_credentials: IAMRoleCredentials,
        elastic_network_interfaces: Vec<ElasticNetworkInterface>,
        associations: Vec<Association>,
        pid_mode: String,
        ipc_mode: String,
        proxy_configuration: ProxyConfiguration,
        agent_configuration: String,
        launch_type: String,
        attachments: Vec<Attachment>,
        network_mode: String,
        service_name: String,
        group: String,
        enable_fault_injection: bool,
        trusted_execution_configuration: TrustedExecutionConfiguration,
        // wharf's own: Amazon's control plane doesn't tell agents of it.
        #[serde(rename = "ephemeralStorageGiB")]
        ephemeral_storage_gib: i64,
    }
}

message! {
    /// A container of a task. Health check, user, working directory, log driver, ulimits,
    /// capabilities, labels and the soft memory limit travel in `docker_config`.
    Container {
        name: String,
        image: String,
        container_arn: String,
        essential: bool,
        cpu: i64,
        memory: i64,
        command: Vec<String>,
        entry_point: Vec<String>,
        environment_files: Vec<EnvironmentFile>,
        links: Vec<String>,
        port_mappings: Vec<PortMapping>,
        mount_points: Vec<MountPoint>,
        volumes_from: Vec<VolumeFrom>,
        depends_on: Vec<ContainerDependency>,
        start_timeout: i64,
        stop_timeout: i64,
        secrets: Vec<Secret>,
        registry_authentication: RegistryAuthenticationData,
        logs_auth_strategy: String,
        health_check_type: String,
        firelens_configuration: FirelensConfiguration,
        credential_specs: Vec<String>,
        managed_agents: Vec<ManagedAgent>,
        restart_policy: RestartPolicy,
        linux_parameters: LinuxParameters,
        privileged: bool,
        network_interface_names: Vec<String>,
        resource_requirements: Vec<ResourceRequirement>,
        overrides: String,
        docker_config: DockerConfig,
        @secret {
            environment: StringMap,
        }
    }
}

message! {
    /// Docker Engine API JSON as text: applied over what the plain members say.
    /// [`super::docker`] has its structures.
    DockerConfig {
        version: String,
        @secret {
            config: String,
            host_config: String,
        }
    }
}

message! {
    /// Short-lived credentials of a role. `expiration` is RFC 3339.
    IAMRoleCredentials {
        credentials_id: String,
        role_arn: String,
        access_key_id: String,
        expiration: String,
        credential_scope: String,
        @secret {
            secret_access_key: String,
            session_token: String,
        }
    }
}

message! {
    /// A device associated with containers.
    Association {
        name: String,
        #[serde(rename = "type")]
        kind: String,
        content: EncodedString,
        containers: Vec<String>,
    }
}

message! {
    /// Text in an encoding (`identity`, `base64`).
    EncodedString {
        value: String,
        encoding: String,
    }
}

message! {
    /// Something attached to a task: a volume, an interface.
    Attachment {
        attachment_arn: String,
        attachment_type: String,
        attachment_properties: Vec<AttachmentProperty>,
    }
}

message! {
    /// A property of an attachment.
    AttachmentProperty {
        name: String,
        value: String,
    }
}

message! {
    /// A network interface of a task in network mode awsvpc.
    ElasticNetworkInterface {
        ec2_id: String,
        mac_address: String,
        attachment_arn: String,
        index: i64,
        name: String,
        ipv4_addresses: Vec<IPv4AddressAssignment>,
        ipv6_addresses: Vec<IPv6AddressAssignment>,
        subnet_gateway_ipv4_address: String,
        subnet_gateway_ipv6_address: String,
        domain_name: Vec<String>,
        domain_name_servers: Vec<String>,
        private_dns_name: String,
        interface_association_protocol: String,
        interface_vlan_properties: NetworkInterfaceVlanProperties,
        interface_tunnel_properties: NetworkInterfaceTunnelProperties,
        interface_veth_properties: NetworkInterfaceVethProperties,
    }
}

message! {
    /// An IPv4 address of an interface.
    IPv4AddressAssignment {
        private_address: String,
        primary: bool,
    }
}

message! {
    /// An IPv6 address of an interface.
    IPv6AddressAssignment {
        address: String,
        primary: bool,
    }
}

message! {
    /// A trunked interface.
    NetworkInterfaceVlanProperties {
        vlan_id: String,
        trunk_interface_mac_address: String,
    }
}

message! {
    /// A tunnelled interface.
    NetworkInterfaceTunnelProperties {
        tunnel_id: String,
        interface_ip_address: String,
    }
}

message! {
    /// A veth pair's end.
    NetworkInterfaceVethProperties {
        peer_interface: String,
    }
}

message! {
    /// An App Mesh proxy.
    ProxyConfiguration {
        #[serde(rename = "type")]
        kind: String,
        container_name: String,
        properties: StringMap,
    }
}

message! {
    /// Isolation of a task (`SHARED`, `EXCLUSIVE`, …).
    TrustedExecutionConfiguration {
        isolation_mode: String,
        attestation_policy: String,
    }
}

message! {
    /// A file of environment variables by its S3 ARN.
    EnvironmentFile {
        value: String,
        #[serde(rename = "type")]
        kind: String,
    }
}

message! {
    /// A container's port; host port 0 means a dynamic one.
    PortMapping {
        container_port: i64,
        host_port: i64,
        container_port_range: String,
        protocol: String,
    }
}

message! {
    /// A volume in a container.
    MountPoint {
        source_volume: String,
        container_path: String,
        read_only: bool,
    }
}

message! {
    /// All volumes of another container.
    VolumeFrom {
        source_container: String,
        read_only: bool,
    }
}

message! {
    /// Wait for another container (`START`, `COMPLETE`, `SUCCESS`, `HEALTHY`).
    ContainerDependency {
        container_name: String,
        condition: String,
    }
}

message! {
    /// A secret by its reference, and where it goes.
    Secret {
        name: String,
        value_from: String,
        container_path: String,
        #[serde(rename = "type")]
        kind: String,
        region: String,
        provider: String,
        target: String,
    }
}

message! {
    /// How to authenticate to the image's registry (`ecr`, `asm`).
    RegistryAuthenticationData {
        #[serde(rename = "type")]
        kind: String,
        ecr_auth_data: ECRAuthData,
        asm_auth_data: ASMAuthData,
    }
}

message! {
    /// Authentication to ECR.
    ECRAuthData {
        registry_id: String,
        region: String,
        endpoint_override: String,
        use_execution_role: bool,
    }
}

message! {
    /// Authentication by a secret.
    ASMAuthData {
        credentials_parameter: String,
        region: String,
    }
}

message! {
    /// A log router.
    FirelensConfiguration {
        #[serde(rename = "type")]
        kind: String,
        options: StringMap,
    }
}

message! {
    /// An agent inside the container (`ExecuteCommandAgent`).
    ManagedAgent {
        name: String,
        properties: StringMap,
    }
}

message! {
    /// Restarts in place.
    RestartPolicy {
        enabled: bool,
        ignored_exit_codes: Vec<i64>,
        restart_attempt_period: i64,
    }
}

message! {
    /// Linux options.
    LinuxParameters {
        capabilities: KernelCapabilities,
        devices: Vec<Device>,
        init_process_enabled: bool,
        shared_memory_size: i64,
    }
}

message! {
    /// Capabilities to add and drop.
    KernelCapabilities {
        add: Vec<String>,
        drop: Vec<String>,
    }
}

message! {
    /// A device of the host (`read`, `write`, `mknod`).
    Device {
        host_path: String,
        container_path: String,
        permissions: Vec<String>,
    }
}

message! {
    /// A resource beside cpu and memory (GPU).
    ResourceRequirement {
        #[serde(rename = "type")]
        kind: String,
        value: String,
        sharing_strategy: SharingStrategy,
    }
}

message! {
    /// How a GPU is shared.
    SharingStrategy {
        nvidia_mps: NvidiaMpsAllocation,
    }
}

message! {
    /// A share of a GPU.
    NvidiaMpsAllocation {
        memory: i64,
        max_compute_percent: i64,
    }
}

message! {
    /// A volume of a task (`host`, `docker`, `efs`, …); no kind means `host`.
    Volume {
        name: String,
        #[serde(rename = "type")]
        kind: String,
        host: HostVolumeProperties,
        docker_volume_configuration: DockerVolumeConfiguration,
        efs_volume_configuration: EFSVolumeConfiguration,
        fsx_windows_file_server_volume_configuration: FSxWindowsFileServerVolumeConfiguration,
        ebs_volume_configuration: EBSVolumeConfiguration,
        log_driver_volume_configuration: LogDriverVolumeConfiguration,
    }
}

message! {
    /// A directory of the host; without a path an empty directory of the agent's.
    HostVolumeProperties {
        source_path: String,
    }
}

message! {
    /// A volume of a volume driver (`task`, `shared`).
    DockerVolumeConfiguration {
        scope: String,
        autoprovision: bool,
        driver: String,
        driver_opts: StringMap,
        labels: StringMap,
    }
}

message! {
    /// An EFS volume.
    EFSVolumeConfiguration {
        file_system_id: String,
        root_directory: String,
        transit_encryption: String,
        transit_encryption_port: i64,
        authorization_config: EFSAuthorizationConfig,
    }
}

message! {
    /// Authorization to an EFS volume.
    EFSAuthorizationConfig {
        access_point_id: String,
        iam: String,
    }
}

message! {
    /// An FSx volume.
    FSxWindowsFileServerVolumeConfiguration {
        file_system_id: String,
        root_directory: String,
        authorization_config: FSxWindowsFileServerAuthorizationConfig,
    }
}

message! {
    /// Authorization to an FSx volume.
    FSxWindowsFileServerAuthorizationConfig {
        credentials_parameter: String,
        domain: String,
    }
}

message! {
    /// An EBS volume.
    EBSVolumeConfiguration {
        volume_id: String,
        delete_on_termination: bool,
        device_name: String,
        filesystem_type: String,
    }
}

message! {
    /// A log driver's output as a volume.
    LogDriverVolumeConfiguration {
        driver: String,
    }
}
