//! The wharf binary: command line, configuration, process wiring. It decides nothing.

mod adapters;
mod agent;
mod authority;
mod balancer;
mod cli;
mod client;
mod credentials;
mod data_dir;
mod doctor;
mod env;
mod explain;
mod history;
mod hosts;
mod image;
mod journal;
mod lb;
mod local_ports;
mod log;
mod logs;
mod output;
mod outside;
mod process;
mod ps;
mod registry_images;
mod registry_names;
mod remotes;
mod run;
mod s3;
mod seal_key;
mod server;
mod status;
mod supervisor;
mod trust;
mod up;

use clap::{CommandFactory as _, Parser as _};
use cli::{Cli, Command};
use data_dir::DataDir;
use std::process::ExitCode;
use tokio_util::sync::CancellationToken;

/// The server's work is many small allocations on several threads at once.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The exit code when something did not happen in the time given for it, as timeout(1) has it.
const WAITED_IN_VAIN: u8 = 124;

type AnyError = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    // Before any thread exists: a process started as a zygote never gets past this.
    wharf_runtime::run_if_zygote();
    let cli = Cli::parse();
    match dispatch(cli) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("wharf: {}", chain(error.as_ref()));
            match error.downcast_ref() {
                Some(up::Error::NotReady { .. }) => ExitCode::from(WAITED_IN_VAIN),
                _ => ExitCode::FAILURE,
            }
        }
    }
}

/// The error and its causes in one line, none of them twice.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let next = cause.to_string();
        if !text.contains(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        source = cause.source();
    }
    text
}

fn dispatch(cli: Cli) -> Result<ExitCode, AnyError> {
    let color = cli.color;
    if let Command::Completions { shell } = &cli.command {
        clap_complete::generate(*shell, &mut Cli::command(), "wharf", &mut std::io::stdout());
        return Ok(ExitCode::SUCCESS);
    }
    let data_dir = DataDir::open(cli.data_dir.as_deref())?;
    let code = |fine: bool| if fine { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    match cli.command {
        Command::Up(up) => {
            let _log = up.foreground.then(|| output::init_log(color));
            up::run(&data_dir, &up)?;
        }
        Command::Supervise(up) => {
            let _log = output::init_log(color);
            supervisor::run(&data_dir, &up)?;
        }
        Command::Down(args) => return down(&data_dir, &args),
        Command::Status(output) => return Ok(code(status::run(&data_dir, output.format()))),
        Command::Doctor(output) => return Ok(code(doctor::run(output.format()))),
        Command::Env(args) => env::run(&data_dir, &args)?,
        Command::Ps(args) => block_on(ps::run(&data_dir, args))?,
        Command::Logs(args) => block_on(logs::run(&data_dir, args))?,
        Command::Run(args) => return block_on(run::run(&data_dir, args)),
        Command::Explain(args) => block_on(explain::run(&data_dir, args))?,
        Command::Image(command) => block_on(image::run(&data_dir, command))?,
        Command::Lb(command) => block_on(lb::run(&data_dir, command))?,
        Command::Journal(command) => journal::run(&data_dir, command)?,
        Command::Server(args) => {
            let _log = output::init_log(color);
            serve(|shutdown| server::run(&data_dir, &args.server, shutdown))?;
        }
        Command::Agent(args) => {
            let _log = output::init_log(color);
            serve(|shutdown| agent::run(&data_dir, &args, shutdown))?;
        }
        Command::Balancer(args) => {
            let _log = output::init_log(color);
            serve(|shutdown| balancer::run(&data_dir, &args, shutdown))?;
        }
        Command::Ca => print!("{}", authority::certificate(&data_dir)?),
        Command::Completions { .. } => {}
    }
    Ok(ExitCode::SUCCESS)
}

fn down(data_dir: &DataDir, args: &cli::Down) -> Result<ExitCode, AnyError> {
    if !status::stop_processes(data_dir, args) {
        return Ok(ExitCode::from(WAITED_IN_VAIN));
    }
    // What was killed has left them.
    registry_names::withdraw_all(data_dir, &args.etc);
    if args.tasks {
        block_on(agent::teardown(data_dir))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn block_on<T, E: Into<AnyError>>(work: impl Future<Output = Result<T, E>>) -> Result<T, AnyError> {
    tokio::runtime::Runtime::new()?.block_on(work).map_err(Into::into)
}

/// Runs a long-lived component until SIGTERM or SIGINT.
fn serve<E, F>(component: impl FnOnce(CancellationToken) -> F) -> Result<(), AnyError>
where
    E: Into<AnyError>,
    F: Future<Output = Result<(), E>>,
{
    use tokio::signal::unix::{SignalKind, signal};
    block_on(async {
        let shutdown = CancellationToken::new();
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let cancelled = shutdown.clone();
        tokio::spawn(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            cancelled.cancel();
        });
        component(shutdown).await.map_err(Into::into)
    })
}
