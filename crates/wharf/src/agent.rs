//! `wharf agent`: this host as a container instance; and the end of everything it made.

use crate::cli::Agent as AgentArgs;
use crate::credentials::{self, Credentials};
use crate::data_dir::{self, DataDir};
use crate::process::ProcessFile;
use crate::s3;
use std::path::PathBuf;
use tokio_util::sync::CancellationToken;
use wharf_agent::task::Secret;
use wharf_agent::{Agent, AgentCredentials, AgentOptions};
use wharf_runtime::{OciRuntime, Runtime, RuntimeOptions, Zygote};

/// Why the agent ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The data directory.
    #[error(transparent)]
    DataDir(#[from] data_dir::Error),
    /// No key.
    #[error(transparent)]
    Credentials(#[from] credentials::Error),
    /// The key for the object store.
    #[error(transparent)]
    S3(#[from] s3::Error),
    /// An option isn't valid.
    #[error(transparent)]
    Options(#[from] wharf_runtime::spec::Error),
    /// The agent itself.
    #[error(transparent)]
    Agent(#[from] wharf_agent::Error),
    /// Something of a task can't be removed.
    #[error("can't remove what tasks left")]
    Runtime(#[from] wharf_runtime::Error),
}

/// What cleaning up must know of the agent that ran: which network and which runtime are its.
#[derive(serde::Serialize, serde::Deserialize)]
struct Settings {
    vpc_cidr: String,
    runtime: String,
}

/// Runs the agent until `shutdown`; tasks go on running.
///
/// # Errors
/// If this host can't be registered or its runtime can't be used.
pub async fn run(
    data_dir: &DataDir,
    args: &AgentArgs,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    let path = data_dir.agent_credentials();
    let key: Credentials = data_dir::read_json(&path)?.ok_or(credentials::Error::Missing(path))?;
    let credentials = AgentCredentials {
        access_key_id: key.access_key_id,
        secret_access_key: Secret::new(key.secret_access_key),
        session_token: None,
    };
    let zygote = Zygote::this_program();
    let mut options = AgentOptions::new(
        args.server.clone(),
        args.cluster.clone(),
        credentials,
        data_dir.path(),
        zygote,
    )?;
    options.region.clone_from(&args.region);
    options.availability_zone = Some(format!("{}a", args.region));
    options.instance = data_dir.instance();
    options.oci_runtime = oci_runtime(&args.runtime);
    options.gpu_devices.clone_from(&args.gpu_devices);
    options.runtime_classes = args.runtime_class.iter().filter_map(|text| class(text)).collect();
    options.allow_old_runtime = args.allow_old_runtime;
    options.awslogs_execution_role_override = args.awslogs_execution_role;
    options.vpc_cidr = args.vpc_cidr.parse()?;
    options.object_store = s3::store(args.s3_endpoint.as_ref(), args.s3_credentials.as_ref())?;
    let settings = Settings { vpc_cidr: args.vpc_cidr.clone(), runtime: args.runtime.clone() };
    data_dir::write_json(&data_dir.agent_settings(), &settings)?;
    ProcessFile::of_this_process("agent", Vec::new()).write(data_dir)?;
    let directory = data_dir.clone();
    let registered = move |arn: &str| {
        let file = ProcessFile::of_this_process("agent", vec![arn.to_owned()]);
        if let Err(error) = file.write(&directory) {
            tracing::warn!(%error, "can't write the agent's process file");
        }
    };
    Ok(Agent::new(options).run_with(shutdown, registered).await?)
}

/// `embedded`, or a path or name that says which of the known runtimes it is.
fn oci_runtime(text: &str) -> OciRuntime {
    let path = PathBuf::from(text);
    match path.file_name().and_then(|name| name.to_str()) {
        Some("embedded") => OciRuntime::Embedded,
        Some("crun") => OciRuntime::Crun(path),
        Some("runc") => OciRuntime::Runc(path),
        _ => OciRuntime::Custom { path, args: Vec::new() },
    }
}

/// A launch type and its runtime: a path or name, with global arguments if they follow.
fn class(text: &str) -> Option<(String, OciRuntime)> {
    let (name, command) = text.split_once('=')?;
    let mut words = command.split_whitespace();
    let (program, args) = (words.next()?, words.map(str::to_owned).collect::<Vec<_>>());
    let runtime = match args.is_empty() {
        true => oci_runtime(program),
        false => OciRuntime::Custom { path: PathBuf::from(program), args },
    };
    Some((name.to_owned(), runtime))
}

/// Stops every task's containers and removes what they left on the host. The agent must not run.
///
/// # Errors
/// If something can't be removed.
pub async fn teardown(data_dir: &DataDir) -> Result<(), Error> {
    let root = data_dir.path().join("runtime");
    let mut options = RuntimeOptions::new(root.clone(), data_dir.instance())
        .map_err(wharf_runtime::Error::from)?;
    // What runs is looked for on the host too: somebody may have removed the directory first.
    if !root.exists() && !options.anything_left()? {
        return Ok(());
    }
    options.adopt_vpc_block()?;
    if let Some(settings) = data_dir::read_json::<Settings>(&data_dir.agent_settings())? {
        options.vpc_cidr = settings.vpc_cidr.parse()?;
        options.oci_runtime = oci_runtime(&settings.runtime);
        // What it started it may also end.
        options.allow_old_runtime = true;
    }
    let runtime = Runtime::open(options, Zygote::this_program()).await?;
    let report = runtime.teardown().await?;
    for failure in report.failed {
        eprintln!("wharf: left behind: {failure}");
    }
    Ok(())
}
