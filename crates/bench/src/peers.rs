//! The servers that stand beside wharf's API.

use crate::Result;
use crate::client::{Client, Key};
use crate::processes::{Process, free_address};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A wharf server without an agent, on a data directory of its own.
#[derive(Debug)]
pub struct Wharf {
    /// The server's process.
    pub process: Process,
    /// Its address.
    pub address: String,
    /// Its root key.
    pub key: Key,
}

impl Wharf {
    /// Starts `program server` below `directory` and waits until it answers.
    ///
    /// # Errors
    /// If it doesn't answer.
    pub async fn start(program: &Path, directory: &Path) -> Result<Self> {
        let address = free_address()?;
        let data_dir = directory.join("wharf");
        let mut command = Command::new(program);
        command.arg("server").arg("--data-dir").arg(&data_dir).args(["--listen", &address]);
        // What runs on this host shall not find it by the registry's name.
        command.arg("--no-hosts");
        let process = Process::start(&mut command, &directory.join("wharf.log"))?;
        drop(crate::client::dial(&address).await?);
        let key = Key::of(&data_dir)?;
        Ok(Self { process, address, key })
    }

    /// A connection.
    ///
    /// # Errors
    /// If the server is gone.
    pub async fn client(&self) -> Result<Client> {
        Client::connect(&self.address, &self.key).await
    }
}

/// nginx with one worker that serves `directory/body` from a file, by sendfile as Debian's configuration
/// has it, its access log on as by default (wharf's is on too).
///
/// # Errors
/// If it isn't installed.
pub fn nginx(directory: &Path, body: &[u8]) -> Result<(Process, String)> {
    let address = free_address()?;
    std::fs::write(directory.join("body"), body)?;
    let at = directory.display();
    let config = format!(
        "daemon off; master_process off; worker_processes 1; user root; pid {at}/nginx.pid;\n\
         error_log stderr; events {{ worker_connections 1024; }}\n\
         http {{ sendfile on; access_log {at}/access.log; default_type application/x-amz-json-1.1;\n\
         keepalive_requests 1000000000; client_body_temp_path {at}; proxy_temp_path {at};\n\
         fastcgi_temp_path {at}; uwsgi_temp_path {at}; scgi_temp_path {at};\n\
         server {{ listen {address}; root {at}; }} }}\n"
    );
    let path = directory.join("nginx.conf");
    std::fs::write(&path, config)?;
    let mut command = Command::new("/usr/sbin/nginx");
    command.arg("-c").arg(&path);
    Ok((Process::start(&mut command, &directory.join("nginx.log"))?, address))
}

/// moto's server, from `MOTO_SERVER` or the path; `None` if it isn't installed.
///
/// # Errors
/// If it can't be started.
pub async fn moto(directory: &Path) -> Result<Option<(Process, String, String)>> {
    let program: PathBuf = std::env::var_os("MOTO_SERVER").unwrap_or("moto_server".into()).into();
    let address = free_address()?;
    let port = address.rsplit(':').next().unwrap_or_default();
    let mut command = Command::new(&program);
    command.args(["-H", "127.0.0.1", "-p", port]);
    let Ok(process) = Process::start(&mut command, &directory.join("moto.log")) else {
        return Ok(None);
    };
    drop(crate::client::dial(&address).await?);
    let python = program.with_file_name("python");
    let code = "import moto; print('moto', moto.__version__)";
    let output = Command::new(python).args(["-c", code]).output();
    let version = output.map(|o| String::from_utf8_lossy(&o.stdout).trim().to_owned());
    Ok(Some((process, address, version.unwrap_or_else(|_| "moto".to_owned()))))
}
