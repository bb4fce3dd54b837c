//! `wharf image … --registry`: the images of this wharf's own registry, over ECR's API like everybody
//! else; collecting garbage alone is wharf's own call, since ECR has none.

use crate::cli::Format;
use crate::client::{self, Client};
use crate::data_dir::DataDir;
use crate::output::{Listing, spinner};
use indicatif::HumanBytes;
use serde_json::{Value, json};
use std::time::Duration;
use wharf_agent::api;
use wharf_wire::OperationShape;
use wharf_wire::ecr::operation;

/// How long a scan is waited for: the server gives one no longer.
const SCAN_TIMEOUT: Duration = Duration::from_secs(15 * 60);
const POLL: Duration = Duration::from_millis(300);
/// Images in one call that deletes, as the API has it.
const BATCH: usize = 100;

/// Why it failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The call.
    #[error(transparent)]
    Client(#[from] client::Error),
    /// No such repository.
    #[error("{0}; `wharf image ls --registry` lists what the registry has")]
    Absent(String),
    /// Without a tag or a digest.
    #[error("\"{0}\" names no image of the registry: give REPOSITORY:TAG or REPOSITORY@DIGEST")]
    Name(String),
    /// Some images weren't removed.
    #[error(
        "{failed} of {asked} images weren't removed; `wharf image ls --registry` lists what there is"
    )]
    NotRemoved {
        /// How many.
        failed: usize,
        /// Of how many.
        asked: usize,
    },
    /// A scan didn't come to an end.
    #[error("{name} couldn't be scanned: {reason}")]
    Scan {
        /// The image.
        name: String,
        /// The registry's words.
        reason: String,
    },
    /// The server's answer makes no sense.
    #[error("the server's answer about {0} can't be read: are it and this command of one version?")]
    Answer(&'static str),
}

/// An image by its repository and tag or digest.
#[derive(Debug, PartialEq, Eq)]
struct Name {
    repository: String,
    id: Value,
}

impl Name {
    /// Reads `REPOSITORY:TAG` or `REPOSITORY@DIGEST`; the registry's own host may stand before it.
    fn parse(text: &str) -> Result<Self, Error> {
        let wrong = || Error::Name(text.to_owned());
        let (repository, id) = match text.split_once('@') {
            Some((name, digest)) => (name, json!({ "imageDigest": digest })),
            None => {
                let named = text.rsplit_once(':').filter(|(_, tag)| !tag.contains('/'));
                let (name, tag) = named.ok_or_else(wrong)?;
                (name, json!({ "imageTag": tag }))
            }
        };
        // With a digest a tag says nothing any more.
        let repository = match (id.get("imageDigest"), repository.rsplit_once(':')) {
            (Some(_), Some((name, tag))) if !tag.contains('/') => name,
            _ => repository,
        };
        let repository = without_host(repository);
        match repository.is_empty() || repository.contains(':') {
            true => Err(wrong()),
            false => Ok(Self { repository: repository.to_owned(), id }),
        }
    }
}

/// A repository's name without the host in front of it, which has a dot or a port, or is localhost.
fn without_host(name: &str) -> &str {
    match name.split_once('/') {
        Some((host, rest)) if host.contains(['.', ':']) || host == "localhost" => rest,
        _ => name,
    }
}

/// The registry's API, with its errors in words of this command line.
struct Registry(Client);

impl Registry {
    fn new(data_dir: &DataDir) -> Result<Self, Error> {
        Ok(Self(Client::new(data_dir, "default")?))
    }

    async fn call<O: OperationShape>(&self, input: &Value) -> Result<Value, Error> {
        self.0.ecr::<O>(input).await.map_err(|error| match error {
            client::Error::Api(api::Error::Refused { code, message, .. })
                if code.ends_with("NotFoundException") =>
            {
                Error::Absent(message.trim_end_matches('.').to_owned())
            }
            other => other.into(),
        })
    }

    /// All pages of a list.
    async fn all<O: OperationShape>(&self, input: Value, list: &str) -> Result<Vec<Value>, Error> {
        let (mut input, mut all) = (input, Vec::new());
        loop {
            let mut page = self.call::<O>(&input).await?;
            if let Some(Value::Array(items)) = page.get_mut(list).map(Value::take) {
                all.extend(items);
            }
            match page.get("nextToken").filter(|token| token.is_string()) {
                Some(token) => input["nextToken"] = token.clone(),
                None => return Ok(all),
            }
        }
    }
}

/// Lists the images of a repository, or of all.
///
/// # Errors
/// If the registry can't be asked, or has no such repository.
pub async fn list(data_dir: &DataDir, repository: &str, format: Format) -> Result<(), Error> {
    let registry = Registry::new(data_dir)?;
    let bar = spinner("asking the registry");
    let names = match without_host(repository) {
        "" => {
            let all = registry.all::<operation::DescribeRepositories>(json!({}), "repositories");
            let all = all.await?;
            let names = all.iter().filter_map(|r| r["repositoryName"].as_str());
            names.map(str::to_owned).collect()
        }
        name => vec![name.to_owned()],
    };
    let mut images = Vec::new();
    for name in &names {
        let input = json!({ "repositoryName": name, "maxResults": 1000 });
        images.extend(registry.all::<operation::DescribeImages>(input, "imageDetails").await?);
        bar.set_message(format!("asking the registry: {} images", images.len()));
    }
    bar.finish_and_clear();
    let rows = images.iter().map(row).collect();
    let columns = vec!["REPOSITORY", "TAGS", "DIGEST", "SIZE", "PUSHED"];
    Listing { columns, rows, json: json!(images) }.print(format);
    Ok(())
}

fn row(image: &Value) -> Vec<String> {
    let text = |name: &str| image[name].as_str().unwrap_or_default().to_owned();
    let tags = image["imageTags"].as_array().map(Vec::as_slice).unwrap_or_default();
    let tags: Vec<&str> = tags.iter().filter_map(Value::as_str).collect();
    let size = image["imageSizeInBytes"].as_u64().map(|size| HumanBytes(size).to_string());
    let pushed = image["imagePushedAt"].as_f64().unwrap_or_default();
    let pushed = jiff::Timestamp::from_second(pushed as i64).map(|at| at.to_string());
    let digest = text("imageDigest");
    let short = digest.get(..19).unwrap_or(&digest).to_owned();
    let pushed = pushed.unwrap_or_default();
    vec![text("repositoryName"), tags.join(","), short, size.unwrap_or_default(), pushed]
}

/// Everything that the registry says of an image, with its manifest.
///
/// # Errors
/// If the registry can't be asked, or has no such image.
pub async fn inspect(data_dir: &DataDir, name: &str) -> Result<Value, Error> {
    let registry = Registry::new(data_dir)?;
    let Name { repository, id } = Name::parse(name)?;
    let input = json!({ "repositoryName": repository, "imageIds": [id] });
    let images = registry.call::<operation::DescribeImages>(&input).await?;
    let mut image = images["imageDetails"][0].clone();
    let found = registry.call::<operation::BatchGetImage>(&input).await?;
    let manifest = found["images"][0]["imageManifest"].as_str().unwrap_or_default();
    image["imageManifest"] = serde_json::from_str(manifest).unwrap_or_default();
    Ok(image)
}

/// Removes images, and prints what went.
///
/// # Errors
/// If the registry can't be asked, or one wasn't removed.
pub async fn remove(data_dir: &DataDir, names: &[String]) -> Result<(), Error> {
    let registry = Registry::new(data_dir)?;
    let parsed = names.iter().map(|name| Name::parse(name)).collect::<Result<Vec<_>, _>>()?;
    let mut failed = 0;
    for same in parsed.chunk_by(|a, b| a.repository == b.repository) {
        for some in same.chunks(BATCH) {
            let ids: Vec<&Value> = some.iter().map(|name| &name.id).collect();
            let repository = &some[0].repository;
            let input = json!({ "repositoryName": repository, "imageIds": ids });
            let answer = registry.call::<operation::BatchDeleteImage>(&input).await?;
            for id in answer["imageIds"].as_array().into_iter().flatten() {
                println!("{}", shown(repository, id));
            }
            for failure in answer["failures"].as_array().into_iter().flatten() {
                failed += 1;
                let reason = failure["failureReason"].as_str().unwrap_or_default();
                eprintln!("wharf: {}: {reason}", shown(repository, &failure["imageId"]));
            }
        }
    }
    match failed {
        0 => Ok(()),
        failed => Err(Error::NotRemoved { failed, asked: names.len() }),
    }
}

fn shown(repository: &str, id: &Value) -> String {
    match (id["imageTag"].as_str(), id["imageDigest"].as_str()) {
        (Some(tag), _) => format!("{repository}:{tag}"),
        (None, digest) => format!("{repository}@{}", digest.unwrap_or_default()),
    }
}

/// Sweeps the registry now.
///
/// # Errors
/// If the server can't be asked.
pub async fn collect(
    data_dir: &DataDir,
    older_than: Option<u32>,
    format: Format,
) -> Result<(), Error> {
    let registry = Registry::new(data_dir)?;
    let query = older_than.map(|seconds| format!("?olderThanSeconds={seconds}"));
    let path = format!("/wharf/v1/registry/gc{}", query.unwrap_or_default());
    let bar = spinner("sweeping the registry");
    let body = registry.0.post("the registry's garbage", &path).await;
    bar.finish_and_clear();
    let answer = || Error::Answer("the registry's garbage");
    let json: Value = serde_json::from_slice(&body?).map_err(|_| answer())?;
    let swept = json.as_object().ok_or_else(answer)?;
    let rows = swept.iter().map(|(what, count)| vec![what.clone(), count.to_string()]).collect();
    Listing { columns: vec!["REMOVED", "COUNT"], rows, json }.print(format);
    Ok(())
}

/// Scans an image and lists what was found.
///
/// # Errors
/// If there is no such image, or the scan fails.
pub async fn scan(data_dir: &DataDir, name: &str, format: Format) -> Result<(), Error> {
    let registry = Registry::new(data_dir)?;
    let Name { repository, id } = Name::parse(name)?;
    let input = json!({ "repositoryName": repository, "imageId": id });
    let failed = |reason: &str| Error::Scan { name: name.to_owned(), reason: reason.to_owned() };
    registry.call::<operation::StartImageScan>(&input).await?;
    let bar = spinner("scanning");
    let begun = std::time::Instant::now();
    loop {
        let page = registry.call::<operation::DescribeImageScanFindings>(&input).await?;
        let status = &page["imageScanStatus"];
        match status["status"].as_str().unwrap_or_default() {
            "COMPLETE" => break,
            "IN_PROGRESS" | "PENDING" if begun.elapsed() < SCAN_TIMEOUT => {}
            "IN_PROGRESS" | "PENDING" => return Err(failed("it takes too long")),
            other => return Err(failed(status["description"].as_str().unwrap_or(other))),
        }
        tokio::time::sleep(POLL).await;
    }
    bar.finish_and_clear();
    let (mut input, mut findings) = (input, Vec::new());
    loop {
        let mut page = registry.call::<operation::DescribeImageScanFindings>(&input).await?;
        let list = page["imageScanFindings"]["findings"].take();
        findings.extend(list.as_array().cloned().unwrap_or_default());
        match page.get("nextToken").filter(|token| token.is_string()) {
            Some(token) => input["nextToken"] = token.clone(),
            None => break,
        }
    }
    let rows = findings.iter().map(finding).collect();
    let columns = vec!["SEVERITY", "NAME", "PACKAGE", "VERSION"];
    Listing { columns, rows, json: json!(findings) }.print(format);
    Ok(())
}

fn finding(finding: &Value) -> Vec<String> {
    let text = |name: &str| finding[name].as_str().unwrap_or_default().to_owned();
    let attribute = |name: &str| {
        let all = finding["attributes"].as_array().into_iter().flatten();
        let mut fitting = all.filter(|attribute| attribute["key"] == name);
        let value = fitting.next().and_then(|attribute| attribute["value"].as_str());
        value.unwrap_or_default().to_owned()
    };
    vec![text("severity"), text("name"), attribute("package_name"), attribute("package_version")]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_with_and_without_the_host() {
        let digest = format!("sha256:{}", "0".repeat(64));
        for (text, repository, id) in [
            ("app:1", "app", json!({"imageTag": "1"})),
            ("localhost:4580/team/app:1", "team/app", json!({"imageTag": "1"})),
            ("123456789012.dkr.ecr.us-east-1.amazonaws.com/app:x", "app", json!({"imageTag": "x"})),
            (&format!("app@{digest}"), "app", json!({"imageDigest": digest})),
            (&format!("localhost:1/a/b:t@{digest}"), "a/b", json!({"imageDigest": digest})),
        ] {
            let expected = Name { repository: repository.to_owned(), id };
            assert_eq!(Name::parse(text).unwrap(), expected, "{text}");
        }
        for wrong in ["app", "", ":1", "localhost:4580/app", "@sha256:00"] {
            assert!(Name::parse(wrong).is_err(), "{wrong}");
        }
    }
}
