//! Names, addresses, and the sentences of ECR that both of the registry's interfaces say.

use crate::app::App;
use wharf_model::ArnScope;

/// The host that images' names begin with: ECR's own name for this account and region while this
/// host's clients find it here, else the server's address.
pub(crate) fn registry_host(app: &App) -> String {
    app.registry().public_name().unwrap_or_else(|| own_address(app))
}

/// Where `docker login` goes.
pub(crate) fn proxy_endpoint(app: &App) -> String {
    match app.registry().public_name() {
        Some(name) => format!("https://{name}"),
        None => format!("http://{}", own_address(app)),
    }
}

/// The server's address, on loopback as what docker takes for a registry that may do without TLS.
fn own_address(app: &App) -> String {
    let endpoint = app.endpoint();
    let host = endpoint.split_once("://").map_or(endpoint, |(_, host)| host).trim_end_matches('/');
    match host.strip_prefix("127.0.0.1:") {
        Some(port) => format!("localhost:{port}"),
        None => host.to_owned(),
    }
}

/// The name of a repository's images.
pub(crate) fn uri(app: &App, repository: &str) -> String {
    format!("{}/{repository}", registry_host(app))
}

/// No such repository, in ECR's words.
pub(crate) fn unknown_repository(arns: &ArnScope, name: &str) -> String {
    format!(
        "The repository with name '{name}' does not exist in the registry with id '{}'",
        arns.account
    )
}

/// A tag that may not be moved, in ECR's words.
pub(crate) fn tag_immutable(tag: &str, repository: &str) -> String {
    format!(
        "The image tag '{tag}' already exists in the '{repository}' repository and cannot be \
         overwritten because the tag is immutable."
    )
}

/// ` with name 'x' in the registry with id 'y'`, as many of ECR's sentences end.
pub(crate) fn place(arns: &ArnScope, repository: &str) -> String {
    format!("with name '{repository}' in the registry with id '{}'", arns.account)
}
