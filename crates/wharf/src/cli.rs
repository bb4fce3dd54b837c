//! The command line: what can be said to `wharf`. What is done about it stands in the modules
//! named after the commands.

use clap::{Args, Parser, Subcommand, ValueEnum};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

/// A self-hosted Amazon ECS: one binary that speaks the AWS API and runs the tasks for real.
#[derive(Debug, Parser)]
#[command(name = "wharf", version, propagate_version = true, arg_required_else_help = true)]
#[command(after_help = "Examples:\n  \
    wharf up                      start wharf on this machine\n  \
    eval \"$(wharf env)\"           point the aws CLI, boto3, SDKs and Terraform at it\n  \
    wharf image build ./app       make an image from a directory or a binary\n  \
    wharf run hello:latest        run an image as a task and follow its output\n  \
    wharf explain TASK            why a task is where it is, or isn't running")]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// Where wharf keeps everything [default: /var/lib/wharf as root, else below the user's data
    /// directory].
    #[arg(long, global = true, env = "WHARF_DATA_DIR", value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// When to use colour.
    #[arg(long, global = true, env = "WHARF_COLOR", value_enum, default_value_t = Color::Auto)]
    pub color: Color,
}

/// When output is coloured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal, unless NO_COLOR or TERM=dumb is set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start wharf on this machine: server, balancer and agent, supervised, in the background.
    Up(Up),
    /// Stop wharf. Tasks go on running unless --tasks is given.
    Down(Down),
    /// Show wharf's processes: pid, version, addresses.
    Status(OutputArgs),
    /// Say what this host lacks to run containers.
    Doctor(OutputArgs),
    /// Print the shell exports that point AWS clients at this wharf.
    Env(Env),
    /// List tasks and their containers.
    Ps(Ps),
    /// Show a task's logs.
    Logs(Logs),
    /// Run an image as a task, follow its output and return its exit code.
    Run(Run),
    /// Say why a task or service is where it is, or isn't running.
    Explain(Explain),
    /// Build, load and list images.
    #[command(subcommand)]
    Image(Image),
    /// List, watch and open load balancers.
    #[command(subcommand)]
    Lb(Lb),
    /// Look after the journal.
    #[command(subcommand)]
    Journal(Journal),
    /// Run the server alone, in the foreground.
    Server(Server),
    /// Run an agent alone, in the foreground.
    Agent(Agent),
    /// Run a balancer alone, in the foreground.
    Balancer(BalancerArgs),
    /// Print the certificate of this wharf's authority, for clients that shall trust it.
    #[command(after_help = "Example:\n  \
        wharf ca > /usr/local/share/ca-certificates/wharf.crt && update-ca-certificates")]
    Ca,
    /// Print shell completions.
    Completions {
        /// Which shell.
        shell: clap_complete::Shell,
    },
    /// Keep server, balancer and agent running (started by `wharf up`).
    #[command(hide = true)]
    Supervise(Up),
}

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Table,
    /// The API's own field names.
    Json,
    /// Tab-separated, no header.
    Tsv,
}

/// Output options that every listing command has.
#[derive(Debug, Clone, Args)]
pub struct OutputArgs {
    /// How to print the result.
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    pub output: Format,
    /// Short for --output json.
    #[arg(long)]
    pub json: bool,
}

impl OutputArgs {
    /// The format in force.
    pub fn format(&self) -> Format {
        if self.json { Format::Json } else { self.output }
    }
}

/// `wharf up`.
#[derive(Debug, Clone, Args)]
pub struct Up {
    #[command(flatten)]
    pub server: ServerArgs,
    /// Cluster that this host is registered in; made if there is none of that name.
    #[arg(long, env = "WHARF_CLUSTER", default_value = "default")]
    pub cluster: String,
    /// Stay in the foreground.
    #[arg(long)]
    pub foreground: bool,
    /// Serve the API alone, without an agent: needs no root.
    #[arg(long)]
    pub no_agent: bool,
    /// Which OCI runtime the agent uses: embedded, or the path or name of crun or runc.
    #[arg(long, env = "WHARF_RUNTIME", default_value = "embedded")]
    pub runtime: String,
    /// Take crun or runc even if its version is older than the one with all known fixes.
    #[arg(long, env = "WHARF_ALLOW_OLD_RUNTIME")]
    pub allow_old_runtime: bool,
    /// Another OCI runtime for the tasks of a launch type, such as
    /// "FARGATE=/usr/bin/runsc --platform=systrap"; may be repeated.
    #[arg(long, env = "WHARF_RUNTIME_CLASS", value_delimiter = ';', value_name = "TYPE=COMMAND",
          value_parser = runtime_class)]
    pub runtime_class: Vec<String>,
    /// Where the device files of GPUs are looked for.
    #[arg(long, env = "WHARF_GPU_DEVICES", default_value = "/dev", value_name = "DIRECTORY")]
    pub gpu_devices: PathBuf,
    /// Address of this host on which internet-facing load balancers listen, beside their own.
    #[arg(long, env = "WHARF_PUBLIC_ADDRESS", value_name = "ADDRESS")]
    pub public_address: Option<IpAddr>,
    /// Directory for load balancers' access and connection logs; none are written unless it is given.
    #[arg(long, env = "WHARF_ACCESS_LOGS", value_name = "DIR")]
    pub access_logs: Option<PathBuf>,
    /// Seconds to wait until everything answers.
    #[arg(long, default_value_t = 60)]
    pub timeout: u64,
}

/// What the server needs to know.
#[derive(Debug, Clone, Args)]
pub struct ServerArgs {
    /// Address of the API.
    #[arg(long, env = "WHARF_LISTEN", default_value = "127.0.0.1:4580")]
    pub listen: SocketAddr,
    /// Region that this server is.
    #[arg(long, env = "WHARF_REGION", default_value = "us-east-1")]
    pub region: String,
    /// Account id.
    #[arg(long, env = "WHARF_ACCOUNT", default_value = "123456789012", value_parser = account_id)]
    pub account: String,
    /// Address range of the built-in VPC.
    #[arg(long, env = "WHARF_VPC_CIDR", default_value = wharf_model::network::DEFAULT_VPC_CIDR)]
    pub vpc_cidr: String,
    /// Days for which stopped tasks, events and reasons are kept.
    #[arg(long, env = "WHARF_HISTORY", default_value_t = 7, value_name = "DAYS")]
    pub history: u32,
    /// S3-compatible store that environment files and trust stores come from; without one they are
    /// refused.
    #[arg(long, env = "WHARF_S3_ENDPOINT", value_name = "URL")]
    pub s3_endpoint: Option<String>,
    /// Directory with OSV records (JSON files, or zips of them as osv.dev publishes them) that images
    /// of the registry are scanned against; without one scans fail.
    #[arg(long, env = "WHARF_OSV_DATABASE", value_name = "DIR")]
    pub osv_database: Option<PathBuf>,
    /// File with the key for the S3-compatible store, as ~/.aws/credentials; unless given,
    /// AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY of wharf's own environment, or no key at all.
    #[arg(long, env = "WHARF_S3_CREDENTIALS", value_name = "FILE")]
    pub s3_credentials: Option<PathBuf>,
    #[command(flatten)]
    pub registry: RegistryArgs,
    #[command(flatten)]
    pub host: HostArgs,
}

/// What the image registry is to know.
#[derive(Debug, Clone, Args)]
pub struct RegistryArgs {
    /// File with the registries that images may be replicated to, as ~/.aws/config: a section for each,
    /// with aws_account_id, region, endpoint_url, aws_access_key_id and aws_secret_access_key.
    #[arg(long, env = "WHARF_REGISTRY_PEERS", value_name = "FILE")]
    pub registry_peers: Option<PathBuf>,
    /// How much each repository of the registry may hold; as much as the disk does without.
    #[arg(long, env = "WHARF_REPOSITORY_QUOTA_MIB", value_name = "MIB")]
    pub repository_quota_mib: Option<u64>,
}

/// What wharf may change of the host, so that its names work there.
#[derive(Debug, Clone, Args)]
pub struct HostArgs {
    /// Leave /etc/hosts, and what docker and podman trust, as they are: images are then named by the
    /// API's address only.
    #[arg(long, env = "WHARF_NO_HOSTS")]
    pub no_hosts: bool,
    /// The directory that stands for /etc.
    #[arg(long, env = "WHARF_ETC", value_name = "DIR", default_value = "/etc", hide = true)]
    pub etc: PathBuf,
}

/// A launch type, and the command of a runtime.
fn runtime_class(text: &str) -> Result<String, String> {
    let types = ["EC2", "FARGATE", "EXTERNAL"];
    match text.split_once('=') {
        Some((name, command)) if types.contains(&name) && !command.trim().is_empty() => {
            Ok(text.to_owned())
        }
        _ => Err("a runtime class is EC2, FARGATE or EXTERNAL, '=' and a command".to_owned()),
    }
}

fn account_id(text: &str) -> Result<String, String> {
    if text.len() == 12 && text.bytes().all(|b| b.is_ascii_digit()) {
        Ok(text.to_owned())
    } else {
        Err("an account id has twelve digits".to_owned())
    }
}

/// `wharf down`.
#[derive(Debug, Args)]
pub struct Down {
    /// Stop the tasks too, and remove networks, mounts and cgroups.
    #[arg(long)]
    pub tasks: bool,
    /// Seconds to wait for processes to end.
    #[arg(long, default_value_t = 30)]
    pub timeout: u64,
    /// The directory that stands for /etc.
    #[arg(long, env = "WHARF_ETC", value_name = "DIR", default_value = "/etc", hide = true)]
    pub etc: PathBuf,
}

/// `wharf env`.
#[derive(Debug, Args)]
pub struct Env {
    /// Print JSON instead of exports.
    #[arg(long)]
    pub json: bool,
}

/// `wharf ps`.
#[derive(Debug, Args)]
pub struct Ps {
    #[command(flatten)]
    pub output: OutputArgs,
    /// Cluster.
    #[arg(long, env = "WHARF_CLUSTER", default_value = "default")]
    pub cluster: String,
    /// Stopped tasks too, for as long as the history goes back.
    #[arg(short, long)]
    pub all: bool,
    /// Print task ARNs only.
    #[arg(short, long)]
    pub quiet: bool,
}

/// `wharf logs`.
#[derive(Debug, Args)]
pub struct Logs {
    /// Task: ARN, id, or the beginning of an id.
    pub task: String,
    /// Container; all unless given.
    pub container: Option<String>,
    /// Go on printing until the task stops.
    #[arg(short, long)]
    pub follow: bool,
    /// Print only the last N lines.
    #[arg(short = 'n', long)]
    pub tail: Option<usize>,
    /// Cluster.
    #[arg(long, env = "WHARF_CLUSTER", default_value = "default")]
    pub cluster: String,
}

/// `wharf run`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  wharf run --memory 64 hello:latest app")]
pub struct Run {
    /// Image.
    pub image: String,
    /// Command; the image's own unless given.
    #[arg(trailing_var_arg = true)]
    pub args: Vec<String>,
    /// Hard memory limit in MiB.
    #[arg(long, default_value_t = 128)]
    pub memory: i32,
    /// CPU units.
    #[arg(long, default_value_t = 0)]
    pub cpu: i32,
    /// NAME=VALUE for the environment; may be repeated.
    #[arg(short, long = "env", value_name = "NAME=VALUE")]
    pub environment: Vec<String>,
    /// Publish a container port on a dynamic host port; may be repeated.
    #[arg(short, long = "publish", value_name = "PORT")]
    pub ports: Vec<u16>,
    /// Print the task's ARN and return at once.
    #[arg(short, long)]
    pub detach: bool,
    /// Cluster.
    #[arg(long, env = "WHARF_CLUSTER", default_value = "default")]
    pub cluster: String,
}

/// `wharf explain`.
#[derive(Debug, Args)]
pub struct Explain {
    /// Task or service: ARN, id or name.
    pub what: String,
    #[command(flatten)]
    pub output: OutputArgs,
    /// Cluster.
    #[arg(long, env = "WHARF_CLUSTER", default_value = "default")]
    pub cluster: String,
}

/// `wharf image`.
#[derive(Debug, Subcommand)]
pub enum Image {
    /// Make an image from a directory (its root file system) or a binary, without a daemon.
    Build(ImageBuild),
    /// Load a docker-archive or oci-archive; `-` reads standard input.
    Load {
        /// The archive.
        file: PathBuf,
        /// Name for an archive that holds none.
        #[arg(long)]
        name: Option<String>,
    },
    /// List images: of this host, or with --registry of this wharf's registry.
    #[command(after_help = "Examples:\n  wharf image ls\n  wharf image ls --registry\n  \
        wharf image ls --registry app --json")]
    Ls {
        /// The registry's images; of one repository, if one is named.
        #[arg(long, value_name = "REPOSITORY", num_args = 0..=1, default_missing_value = "")]
        registry: Option<String>,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Everything that is known of an image, as JSON: on this host, or with --registry in this wharf's
    /// registry.
    Inspect {
        /// Its name.
        name: String,
        /// Look in the registry.
        #[arg(long)]
        registry: bool,
    },
    /// Remove images: from this host, or with --registry from this wharf's registry.
    #[command(after_help = "Examples:\n  wharf image rm hello:latest\n  \
        wharf image rm --registry app:1 app@sha256:…")]
    Rm {
        /// Names; in the registry REPOSITORY:TAG or REPOSITORY@DIGEST.
        #[arg(required = true)]
        names: Vec<String>,
        /// Remove from the registry. A tag is removed, and with its last tag the image.
        #[arg(long)]
        registry: bool,
    },
    /// Remove what nothing needs: pulled images of this host that no container uses, or with --registry
    /// what no image of this wharf's registry refers to.
    Gc {
        /// Sweep the registry: expired images, uploads at rest, blobs that no image has.
        #[arg(long)]
        registry: bool,
        /// Only what has rested for so long; 3600 unless given, and for the registry's uploads a day. A blob
        /// of a push that is still under way has rested, too.
        #[arg(long, value_name = "SECONDS")]
        older_than: Option<u32>,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Scan an image of this wharf's registry, and list what was found.
    Scan {
        /// REPOSITORY:TAG or REPOSITORY@DIGEST.
        name: String,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Pull an image from its registry.
    Pull {
        /// Reference.
        reference: String,
        /// Print the image as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Look whether the blobs of this wharf's registry are still what they should be: reads all of them,
    /// changes nothing, and may run beside the server. Fails if one is damaged.
    Scrub(OutputArgs),
    /// Push an image to a registry, by default to the one in its name.
    #[command(after_help = "Examples:\n  \
        wharf image push localhost:4580/hello:1\n  \
        wharf image push hello:latest localhost:4580/hello:1")]
    Push {
        /// The image on this host.
        name: String,
        /// Where to push it and how to call it there; its own name unless given.
        target: Option<String>,
        /// Print name and digest as JSON.
        #[arg(long)]
        json: bool,
    },
}

/// `wharf image build`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    wharf image build --name hello:latest target/release/hello\n  \
    wharf image build --name site:1 --entrypoint /usr/sbin/nginx ./rootfs")]
pub struct ImageBuild {
    /// Directory or binary.
    pub source: PathBuf,
    /// Image name; the source's name with tag latest unless given.
    #[arg(short, long)]
    pub name: Option<String>,
    /// Entry point; a binary's own path unless given. May be repeated for its arguments.
    #[arg(long)]
    pub entrypoint: Vec<String>,
    /// Default arguments; may be repeated.
    #[arg(long)]
    pub cmd: Vec<String>,
    /// NAME=VALUE for the environment; may be repeated.
    #[arg(short, long = "env", value_name = "NAME=VALUE")]
    pub environment: Vec<String>,
    /// User.
    #[arg(long)]
    pub user: Option<String>,
    /// Working directory.
    #[arg(long)]
    pub workdir: Option<String>,
}

/// `wharf lb`.
#[derive(Debug, Subcommand)]
pub enum Lb {
    /// List load balancers: URLs, addresses, healthy targets, and where they can't listen.
    Ls(OutputArgs),
    /// Show what goes through load balancers: requests, times, answers, connections by the second.
    Top(LbTop),
    /// Print a load balancer's URL, and open it where a display is.
    Open {
        /// Name of the load balancer.
        name: String,
    },
}

/// `wharf lb top`.
#[derive(Debug, Args)]
pub struct LbTop {
    #[command(flatten)]
    pub output: OutputArgs,
    /// Seconds between two looks.
    #[arg(long, default_value_t = 1.0)]
    pub interval: f64,
    /// Look once and end, as without a terminal.
    #[arg(long)]
    pub once: bool,
}

/// `wharf journal`.
#[derive(Debug, Subcommand)]
pub enum Journal {
    /// Write every readable record as a JSON line, also of a damaged journal.
    Export {
        /// File to write; standard output unless given.
        #[arg(short, long)]
        file: Option<PathBuf>,
    },
}

/// `wharf server`.
#[derive(Debug, Args)]
pub struct Server {
    #[command(flatten)]
    pub server: ServerArgs,
}

/// `wharf balancer`.
#[derive(Debug, Args)]
pub struct BalancerArgs {
    /// The server's endpoint.
    #[arg(long, env = "WHARF_SERVER", default_value = "http://127.0.0.1:4580")]
    pub server: String,
    /// Region.
    #[arg(long, env = "WHARF_REGION", default_value = "us-east-1")]
    pub region: String,
    /// Address of this host on which internet-facing load balancers listen, beside their own.
    #[arg(long, env = "WHARF_PUBLIC_ADDRESS", value_name = "ADDRESS")]
    pub public_address: Option<IpAddr>,
    /// Account id, for the ARNs in logs.
    #[arg(long, env = "WHARF_ACCOUNT", default_value = "123456789012", value_parser = account_id)]
    pub account: String,
    /// Directory for access and connection logs; none are written unless it is given.
    #[arg(long, env = "WHARF_ACCESS_LOGS", value_name = "DIR")]
    pub access_logs: Option<PathBuf>,
    #[command(flatten)]
    pub host: HostArgs,
}

/// `wharf agent`.
#[derive(Debug, Args)]
pub struct Agent {
    /// The server's endpoint.
    #[arg(long, env = "WHARF_SERVER", default_value = "http://127.0.0.1:4580")]
    pub server: String,
    /// Cluster to join.
    #[arg(long, env = "WHARF_CLUSTER", default_value = "default")]
    pub cluster: String,
    /// Region.
    #[arg(long, env = "WHARF_REGION", default_value = "us-east-1")]
    pub region: String,
    /// Address range of the built-in VPC.
    #[arg(long, env = "WHARF_VPC_CIDR", default_value = wharf_model::network::DEFAULT_VPC_CIDR)]
    pub vpc_cidr: String,
    /// Which OCI runtime: embedded, or the path or name of crun or runc.
    #[arg(long, env = "WHARF_RUNTIME", default_value = "embedded")]
    pub runtime: String,
    /// Take crun or runc even if its version is older than the one with all known fixes.
    #[arg(long, env = "WHARF_ALLOW_OLD_RUNTIME")]
    pub allow_old_runtime: bool,
    /// Another OCI runtime for the tasks of a launch type, such as
    /// "FARGATE=/usr/bin/runsc --platform=systrap"; may be repeated.
    #[arg(long, env = "WHARF_RUNTIME_CLASS", value_delimiter = ';', value_name = "TYPE=COMMAND",
          value_parser = runtime_class)]
    pub runtime_class: Vec<String>,
    /// Where the device files of GPUs are looked for.
    #[arg(long, env = "WHARF_GPU_DEVICES", default_value = "/dev", value_name = "DIRECTORY")]
    pub gpu_devices: PathBuf,
    /// S3-compatible store that environment files come from.
    #[arg(long, env = "WHARF_S3_ENDPOINT", value_name = "URL")]
    pub s3_endpoint: Option<String>,
    /// File with the key for it, as ~/.aws/credentials; unless given, AWS_ACCESS_KEY_ID and
    /// AWS_SECRET_ACCESS_KEY of the environment, or no key at all.
    #[arg(long, env = "WHARF_S3_CREDENTIALS", value_name = "FILE")]
    pub s3_credentials: Option<PathBuf>,
    /// Write the logs of `awslogs` in the name of the task's execution role on launch type EC2, too.
    #[arg(long, env = "ECS_ENABLE_AWSLOGS_EXECUTIONROLE_OVERRIDE")]
    pub awslogs_execution_role: bool,
}
