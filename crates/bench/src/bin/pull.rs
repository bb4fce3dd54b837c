//! The bench of pulling a large image: `cargo xtask bench pull`.
//!
//! An image of ten layers with 500 MB of Debian's packages lies in wharf's registry. It is pulled and
//! unpacked into a startable root in turns by `ctr image pull` and by `wharf image pull`, each into an empty
//! store: by HTTP, as a host of its own, and, wharf's alone, on the registry's own host, where blobs are
//! linked. `pull WHARF [ROUNDS [LAYERS [MIB]]]`.

use serde_json::json;
use std::path::Path;
use std::process::Command;
use std::time::Instant;
use wharf_bench::Result;
use wharf_bench::client::Client;
use wharf_bench::containerd::Containerd;
use wharf_bench::debian_image::{DebianImage, digest_of};
use wharf_bench::peers::Wharf;
use wharf_bench::processes::run;
use wharf_bench::rounds::median;

const DEFAULT_ROUNDS: usize = 5;
const DEFAULT_LAYERS: usize = 10;
const DEFAULT_MIB: usize = 48;

/// Where the image lies, and as whom it is pulled.
struct Origin {
    image: String,
    password: String,
}

#[tokio::main]
async fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let program = arguments.next().ok_or("usage: pull WHARF [ROUNDS [LAYERS [MIB]]]")?;
    let mut number = |default| arguments.next().map_or(Ok(default), |text| text.parse());
    let (rounds, layers, mib) =
        (number(DEFAULT_ROUNDS)?, number(DEFAULT_LAYERS)?, number(DEFAULT_MIB)?);
    let program = Path::new(&program);
    let directory = tempfile::tempdir()?;
    let at = directory.path();
    let image = DebianImage::make(at, layers, mib)?;
    let packed: u64 = image
        .layers
        .iter()
        .map(|(path, _)| std::fs::metadata(path).map(|meta| meta.len()))
        .sum::<std::io::Result<_>>()?;
    println!(
        "{layers} layers: {} MB, {} MB packed, {} files and directories; {rounds} rounds",
        image.bytes / 1_000_000,
        packed / 1_000_000,
        image.entries
    );
    let server = Wharf::start(program, at).await?;
    let origin = push(&server, at, &image).await?;
    let containerd = Containerd::start(at).await?;
    let (mut ctr, mut away, mut here) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        if let Some(containerd) = &containerd {
            ctr.push(by_ctr(containerd, &origin)?);
        }
        away.push(by_wharf(program, at, &origin)?);
        here.push(on_its_host(program, &at.join("wharf"), &origin)?);
    }
    let ratio = |ours: &[f64]| median(ours.iter().zip(&ctr).map(|(a, b)| a / b).collect());
    if containerd.is_some() {
        println!("    ctr image pull                   {:>6.2} s", median(ctr.clone()));
    }
    for (name, times) in [("by HTTP", &away), ("on the registry's host", &here)] {
        let middle = median(times.clone());
        print!("    wharf image pull, {name:<22} {middle:>6.2} s");
        match containerd {
            Some(_) => println!("   {:.2}x ctr", ratio(times)),
            None => println!(),
        }
    }
    Ok(())
}

/// Pushes the image with skopeo's order of requests, by curl: speed isn't the matter here.
async fn push(server: &Wharf, directory: &Path, image: &DebianImage) -> Result<Origin> {
    let mut client =
        Client::connect(&server.address, &server.key.clone().of_service("ecr")).await?;
    let target = |operation: &str| format!("AmazonEC2ContainerRegistry_V20150921.{operation}");
    let input = json!({"repositoryName": "bench"}).to_string();
    client.call_target(&target("CreateRepository"), input.as_bytes()).await?;
    let answer = client.call_target(&target("GetAuthorizationToken"), b"{}").await?;
    let answer: serde_json::Value = serde_json::from_slice(answer)?;
    let token = answer["authorizationData"][0]["authorizationToken"].as_str().ok_or("no token")?;
    let config = directory.join("config.json");
    std::fs::write(&config, &image.config)?;
    let base = format!("http://{}/v2/bench", server.address);
    let curl = |method: &str, url: &str, kind: &str, file: &Path| {
        run(Command::new("curl")
            .args(["-sSf", "-X", method, url, "-H", &format!("authorization: Basic {token}")])
            .args(["-H", &format!("content-type: {kind}"), "--data-binary"])
            .arg(format!("@{}", file.display())))
    };
    let blobs = image.layers.iter().cloned().chain([(config, digest_of(&image.config))]);
    for (path, digest) in blobs {
        let url = format!("{base}/blobs/uploads/?digest={digest}");
        curl("POST", &url, "application/octet-stream", &path)?;
    }
    let manifest = directory.join("manifest.json");
    std::fs::write(&manifest, &image.manifest)?;
    let kind = "application/vnd.oci.image.manifest.v1+json";
    curl("PUT", &format!("{base}/manifests/large"), kind, &manifest)?;
    // As docker's configuration has it, for the host that pulls from elsewhere.
    let docker = json!({"auths": {&server.address: {"auth": token}}});
    std::fs::create_dir_all(directory.join("docker"))?;
    std::fs::write(directory.join("docker/config.json"), docker.to_string())?;
    let password = password(token)?;
    Ok(Origin { image: format!("{}/bench:large", server.address), password })
}

/// What stands behind the user's name in the token of a login.
fn password(token: &str) -> Result<String> {
    let mut command = Command::new("base64");
    let file = tempfile::NamedTempFile::new()?;
    std::fs::write(file.path(), token)?;
    let output = command.arg("-d").arg(file.path()).output()?;
    let text = String::from_utf8(output.stdout)?;
    let (_, password) = text.split_once(':').ok_or("no password in the token")?;
    Ok(password.to_owned())
}

fn by_ctr(containerd: &Containerd, origin: &Origin) -> Result<f64> {
    let user = format!("AWS:{}", origin.password);
    let seconds = timed(&mut containerd.ctr(&[
        "image",
        "pull",
        "--plain-http",
        "--user",
        &user,
        &origin.image,
    ]))?;
    run(&mut containerd.ctr(&["image", "rm", "--sync", &origin.image]))?;
    Ok(seconds)
}

/// As another host does it, with a data directory of its own.
fn by_wharf(program: &Path, directory: &Path, origin: &Origin) -> Result<f64> {
    let data = directory.join("elsewhere");
    let mut command = pull(program, &data, origin);
    command.env("DOCKER_CONFIG", directory.join("docker"));
    let seconds = timed(&mut command)?;
    std::fs::remove_dir_all(&data)?;
    Ok(seconds)
}

fn on_its_host(program: &Path, data: &Path, origin: &Origin) -> Result<f64> {
    let seconds = timed(&mut pull(program, data, origin))?;
    std::fs::remove_dir_all(data.join("images"))?;
    Ok(seconds)
}

fn pull(program: &Path, data: &Path, origin: &Origin) -> Command {
    let mut command = Command::new(program);
    command.arg("--data-dir").arg(data).args(["image", "pull", &origin.image]);
    command
}

/// How long a command takes, in seconds, when nothing is left to be written from before.
fn timed(command: &mut Command) -> Result<f64> {
    nix::unistd::sync();
    let begun = Instant::now();
    run(command)?;
    Ok(begun.elapsed().as_secs_f64())
}
