//! What can be wrong with a task definition, in Amazon ECS's own words.
//!
//! All of it is a ClientException. The texts are the ones that the real service was seen to answer
//! with; where no text is known, it follows the pattern of its neighbours.

/// Why a task definition isn't registered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// `family` is absent or empty.
    #[error("Family should not be null or empty.")]
    FamilyEmpty,
    /// `family` has something else than letters, digits, `-` and `_`.
    #[error("Family contains invalid characters.")]
    FamilyCharacters,
    /// `family` or a container's name is too long.
    #[error("{0} cannot be longer than {1} characters.")]
    TooLong(&'static str, usize),
    /// `containerDefinitions` is empty.
    #[error("Container list cannot be empty.")]
    NoContainers,
    /// More containers than a task may have.
    #[error("Too many containers.")]
    TooManyContainers,
    /// A container without a name.
    #[error("Container.name should not be null or empty.")]
    ContainerNameEmpty,
    /// A container's name has something else than letters, digits, `-` and `_`.
    #[error("Container.name contains invalid characters.")]
    ContainerNameCharacters,
    /// Two containers of one name.
    #[error("Container names must be unique within a Task Definition.")]
    ContainerNameTwice,
    /// A container without an image.
    #[error("Container.image should not be null or empty.")]
    ImageEmpty,
    /// An image reference that is no image reference.
    #[error("Container.image contains invalid characters.")]
    ImageCharacters,
    /// An image reference that is only a tag or digest.
    #[error("Container.image repository should not be null or empty.")]
    ImageRepositoryEmpty,
    /// A container's member is out of its range.
    #[error("Invalid '{member}' setting for container '{container}'.")]
    ContainerSetting {
        /// The member.
        member: &'static str,
        /// The container.
        container: String,
    },
    /// A container's member is out of a range that has two ends.
    #[error(
        "Invalid '{member}' setting for container '{container}'. The value must be between {least} \
         and {most}."
    )]
    ContainerSettingRange {
        /// The member.
        member: &'static str,
        /// The container.
        container: String,
        /// The least value.
        least: i32,
        /// The greatest value.
        most: i32,
    },
    /// A health check without a command that can be run.
    #[error(
        "Invalid 'healthCheck.command' setting for container '{0}'. The command must start with \
         CMD (followed by a command and its arguments), CMD-SHELL (followed by one command line) \
         or NONE."
    )]
    HealthCheckCommand(String),
    /// A restart policy that is off and has settings all the same.
    #[error(
        "Invalid 'restartPolicy' setting for container '{0}'. 'ignoredExitCodes' and \
         'restartAttemptPeriod' can only be set when 'enabled' is true."
    )]
    RestartPolicyOff(String),
    /// Neither the container nor the task says how much memory.
    #[error(
        "Invalid setting for container '{0}'. At least one of 'memory' or 'memoryReservation' \
         must be specified."
    )]
    NoMemory(String),
    /// The soft limit lies above the hard one.
    #[error(
        "Invalid setting for container '{0}'. The 'memory' setting must be greater than or equal \
         to 'memoryReservation'."
    )]
    ReservationAboveMemory(String),
    /// No container is essential.
    #[error("Task definition doesn't have any essential container.")]
    NoEssentialContainer,
    /// An environment variable without a name.
    #[error("Invalid setting for container '{0}'. Environment variable names cannot be empty.")]
    EnvironmentNameEmpty(String),
    /// A variable of this name is there already.
    #[error(
        "The secret name must be unique and not shared with any new or existing environment \
         variables set on the container, such as '{0}'."
    )]
    SecretNameTwice(String),
    /// A name that no variable can have.
    #[error("Secret.name contains invalid characters: '{0}'.")]
    SecretName(String),
    /// A place that no value comes from.
    #[error("Invalid 'valueFrom' setting for secret '{name}': {problem}.")]
    SecretValueFrom {
        /// The secret.
        name: String,
        /// What is wrong.
        problem: String,
    },
    /// A value of another region.
    #[error(
        "The secret '{text}' is in the region '{wanted}', and this server has the region '{served}' \
         only."
    )]
    SecretRegion {
        /// What was named.
        text: String,
        /// Its region.
        wanted: String,
        /// The one that there is.
        served: String,
    },
    /// Something has to be fetched, and nobody is there in whose name.
    #[error("When you are specifying {0}, you must also specify a value for 'executionRoleArn'.")]
    ExecutionRoleMissing(&'static str),
    /// More environment files than a container may have.
    #[error("Too many environment files: a container can have at most {0}.")]
    TooManyEnvironmentFiles(usize),
    /// An environment file that is no object.
    #[error("Invalid 'environmentFiles' setting: '{0}' is not the ARN of an Amazon S3 object.")]
    EnvironmentFileArn(String),
    /// An environment file of another kind.
    #[error("Invalid 'environmentFiles' setting: the name of '{0}' must end with '.env'.")]
    EnvironmentFileName(String),
    /// Files, and nowhere to take them from.
    #[error(
        "{0}: not supported by this server as it was started: files come from an S3-compatible \
         store, which 'wharf up --s3-endpoint' names."
    )]
    NoObjectStore(&'static str),
    /// More or less storage than a task may have.
    #[error("Invalid 'ephemeralStorage' setting: 'sizeInGiB' must be between {least} and {most}.")]
    EphemeralStorage {
        /// At least.
        least: u32,
        /// At most.
        most: u32,
    },
    /// Not a number of GPUs, or two.
    #[error(
        "Invalid setting for container '{container}'. The value '{value}' of the resource \
         requirement GPU must be a positive integer, given once."
    )]
    Gpus {
        /// The container.
        container: String,
        /// What was sent.
        value: String,
    },
    /// Credentials for a registry that are no secret.
    #[error(
        "Invalid 'credentialsParameter' setting: '{0}' is neither the ARN nor the name of a secret \
         of AWS Secrets Manager."
    )]
    RegistrySecret(String),
    /// A volume of wharf's own with options that it doesn't have.
    #[error(
        "Invalid 'driverOpts' setting for volume '{volume}' with the driver {driver}: {problem}."
    )]
    OwnVolume {
        /// The volume.
        volume: String,
        /// The driver.
        driver: String,
        /// What is wrong.
        problem: String,
    },
    /// A volume of wharf's own that outlives its task.
    #[error(
        "Invalid 'scope' setting for volume '{0}': volumes of this driver have the scope 'task'."
    )]
    OwnVolumeShared(String),
    /// A limit that isn't one.
    #[error("Invalid 'ulimits' setting for container '{container}': {ulimit}.")]
    Ulimit {
        /// The container.
        container: String,
        /// The limit's name.
        ulimit: String,
    },
    /// A kernel parameter that isn't the container's own, or can't be set.
    #[error("Invalid 'systemControls' setting for container '{container}': {namespace}.")]
    SystemControl {
        /// The container.
        container: String,
        /// The parameter.
        namespace: String,
    },
    /// A volume's name has something else than letters, digits, `-` and `_`.
    #[error("Volume.name contains invalid characters.")]
    VolumeNameCharacters,
    /// Two volumes of one name.
    #[error("Volume name '{0}' must be unique within a Task Definition.")]
    VolumeNameTwice(String),
    /// A volume of several kinds.
    #[error("Only one volume configuration can be specified for volume '{0}'.")]
    VolumeKinds(String),
    /// A host path that isn't absolute.
    #[error("Invalid 'sourcePath' setting for volume '{0}'.")]
    SourcePath(String),
    /// `autoprovision` of a volume that always is.
    #[error("Autoprovision is not supported for docker volumes with scope 'task'.")]
    AutoprovisionTask,
    /// A mount point names no volume.
    #[error("Unknown volume '{0}'.")]
    UnknownVolume(String),
    /// `links` or `volumesFrom` names no other container.
    #[error("Unknown container '{name}' in {member}.")]
    UnknownContainer {
        /// The member.
        member: &'static str,
        /// The name.
        name: String,
    },
    /// Options that a log driver doesn't have.
    #[error("Log driver {driver} disallows options: {options}")]
    LogOptionsDisallowed {
        /// The driver.
        driver: &'static str,
        /// The options.
        options: String,
    },
    /// An option that docker would refuse.
    #[error("Log driver {driver}: {why}")]
    LogOptionValue {
        /// The driver.
        driver: &'static str,
        /// Docker's words.
        why: String,
    },
    /// Logs through a router that isn't there.
    #[error(
        "When awsfirelens log driver is specified in log configuration, a firelens configuration \
         object must be configured in one of the containers."
    )]
    NoRouter,
    /// A router without anything to route.
    #[error(
        "When a firelensConfiguration object is specified, at least one container has to be \
         configured with the awsfirelens log driver."
    )]
    NothingRouted,
    /// Two routers.
    #[error("Only one container in a task definition can have a firelensConfiguration object.")]
    Routers,
    /// A router that would route its own output.
    #[error(
        "Container '{0}' has a firelensConfiguration and can't use the awsfirelens log driver."
    )]
    RouterThroughItself(String),
    /// A router's option.
    #[error("Invalid firelensConfiguration option '{option}': '{value}'.")]
    FirelensOption {
        /// The option.
        option: String,
        /// Its value.
        value: String,
    },
    /// Options that the awslogs driver needs.
    #[error("Log driver awslogs requires options: {0}")]
    LogOptionsMissing(String),
    /// An option's value that isn't one.
    #[error("Log driver awslogs has an invalid value for option {option}: '{value}'.")]
    LogOption {
        /// The option.
        option: &'static str,
        /// Its value.
        value: String,
    },
    /// Two ways to say where an event begins.
    #[error(
        "Log driver awslogs disallows options: awslogs-datetime-format together with \
         awslogs-multiline-pattern"
    )]
    LogPatterns,
    /// Logs for another region.
    #[error(
        "Log driver awslogs: option awslogs-region is '{wanted}', and this server has the region \
         '{served}' only."
    )]
    LogRegion {
        /// The region that was asked for.
        wanted: String,
        /// The one that there is.
        served: String,
    },
    /// FARGATE without a name for the streams.
    #[error(
        "Fargate requires log configuration options to include awslogs-stream-prefix to support \
         log driver awslogs."
    )]
    FargateStreamPrefix,
    /// FARGATE without a role to write logs by.
    #[error(
        "Fargate requires task definition to have execution role ARN to support log driver awslogs."
    )]
    FargateExecutionRole,
    /// Host and container ports differ where they are one.
    #[error(
        "When networkMode={0}, the host ports and container ports in port mappings must match."
    )]
    PortsDiffer(&'static str),
    /// Something that doesn't go with the network mode.
    #[error("{member} is not supported on container when networkMode={mode}.")]
    NotInNetworkMode {
        /// The member.
        member: &'static str,
        /// The network mode.
        mode: &'static str,
    },
    /// Two mappings onto one host port.
    #[error("{protocol} host port '{port}' is mapped multiple times in task.")]
    HostPortTwice {
        /// `TCP` or `UDP`.
        protocol: String,
        /// The port.
        port: u16,
    },
    /// Two port mappings of one name.
    #[error("Port mapping name '{0}' must be unique within a Task Definition.")]
    PortNameTwice(String),
    /// A port mapping name of the wrong form.
    #[error("Port mapping name '{0}' contains invalid characters.")]
    PortNameCharacters(String),
    /// Application protocol without a name.
    #[error("Port mapping name is required when appProtocol is specified.")]
    PortNameMissing,
    /// `dependsOn` names no container.
    #[error("Cannot depend on container + '{0}' because it does not exist")]
    DependencyMissing(String),
    /// `dependsOn` goes in a circle.
    #[error("Container dependencies should not have a cycle")]
    DependencyCycle,
    /// COMPLETE and SUCCESS can't be met by a container whose end ends the task.
    #[error(
        "A dependency container with SUCCESS or COMPLETE condition cannot be an essential \
         container"
    )]
    DependencyEssential,
    /// HEALTHY needs a health check.
    #[error("A dependency container with HEALTHY condition must have a health check")]
    DependencyWithoutHealthCheck,
    /// A task-level size that isn't one.
    #[error(
        "Invalid '{0}' setting for task. For more information, see the Troubleshooting section of \
         the Amazon ECS Developer Guide."
    )]
    TaskSize(&'static str),
    /// The containers want more CPU than the task has.
    #[error(
        "The sum of all container 'cpu' values cannot be greater than the value of the task 'cpu'."
    )]
    CpuSum,
    /// The containers reserve more memory than the task has.
    #[error(
        "The sum of all container 'memoryReservation' values cannot be greater than the value of \
         the task 'memory'."
    )]
    MemoryReservationSum,
    /// One container wants more memory than the task has.
    #[error("The 'memory' setting for container '{0}' is greater than for the task.")]
    MemoryAboveTask(String),
    /// FARGATE with another network mode. (The quotes are the real service's.)
    #[error("Fargate only supports network mode ‘awsvpc’.")]
    FargateNetworkMode,
    /// FARGATE without a task-level size.
    #[error("Fargate requires that '{0}' be defined at the task level.")]
    FargateSizeMissing(&'static str),
    /// FARGATE with a size that isn't in its table.
    #[error(
        "No Fargate configuration exists for given values: {cpu} CPU, {memory} memory. See the \
         Amazon ECS documentation for the valid values."
    )]
    FargateSize {
        /// CPU units.
        cpu: i64,
        /// MiB.
        memory: i64,
    },
    /// FARGATE with something that it doesn't have.
    #[error("Tasks using the Fargate launch type do not support {0}.")]
    NotOnFargate(&'static str),
    /// EXTERNAL with awsvpc.
    #[error("Tasks using the External launch type do not support network mode ‘awsvpc’.")]
    ExternalNetworkMode,
    /// A word that isn't one of the member's.
    #[error("{member} should be one of [{}]", allowed.join(","))]
    NotAWord {
        /// The member.
        member: &'static str,
        /// Its words.
        allowed: &'static [&'static str],
    },
    /// A member that the API requires of a list's element.
    #[error("{0} should not be null or empty.")]
    Required(&'static str),
    /// A role that is neither an ARN nor a name.
    #[error("Role is not valid")]
    Role,
    /// A placement constraint's expression doesn't parse.
    #[error("Invalid placement constraint expression '{expression}': {problem}")]
    Expression {
        /// The expression.
        expression: String,
        /// What the parser says.
        problem: String,
    },
    /// More placement constraints than a task definition may have.
    #[error("Task definition can have at most 10 placement constraints.")]
    TooManyConstraints,
    /// `tags` is there but empty.
    #[error("Tags can not be empty.")]
    TagsEmpty,
    /// Larger than a task definition may be.
    #[error("Actual length: '{0}'. Max allowed length is '65536' bytes.")]
    TooLarge(usize),
    /// Members that wharf can't carry out.
    #[error(
        "wharf does not carry out these members of a task definition yet, so it does not accept \
         them: {}.", .0.join(", ")
    )]
    NotCarriedOut(Vec<String>),
}
