//! The name and the password for an image's registry (`repositoryCredentials`), as Amazon's agent
//! reads them: a JSON object with `username` and `password`.

use std::collections::BTreeMap;

use wharf_image::Credentials;
use wharf_wire::secretsmanager;
use wharf_wire::secretsmanager::operation::GetSecretValue;
use wharf_wire::secretsmanager::types::GetSecretValueRequest;

use super::Secrets;
use super::fetch::said;
use super::wording::Wording;
use crate::engine::Failure;
use crate::task::{Container, Secret, Task};

impl Secrets {
    /// The credentials that the container's definition names for its image, if it names some. They
    /// are fetched for every pull, and kept no longer than that takes.
    pub(crate) async fn registry(
        &self,
        task: &Task,
        container: &Container,
    ) -> Result<Option<Credentials>, Failure> {
        let Some(secret) = &container.registry_secret else { return Ok(None) };
        let wording = Wording::of(task);
        let client = self.client_of(task).await?;
        let input = GetSecretValueRequest {
            secret_id: Some(secret.clone()),
            version_stage: None,
            version_id: None,
        };
        let answer = self.call::<GetSecretValue>(&client, secretsmanager::SERVICE, input).await;
        let answer = answer.map_err(|error| {
            let why = said(&error);
            wording.registry(format!("asm fetching secret from the service for {secret}: {why}"))
        })?;
        let text = Secret::new(answer.secret_string.unwrap_or_default());
        read(&text).map(Some).map_err(|why| wording.registry(format!("asm fetching {why}")))
    }
}

/// What the secret holds. The errors say nothing of what is in it.
fn read(text: &Secret) -> Result<Credentials, String> {
    if text.expose().is_empty() {
        return Err("authorization data: empty secrets value".to_owned());
    }
    let schema =
        |_| "authorization data: unable to unmarshal secret value, invalid schema".to_owned();
    let members: BTreeMap<String, &serde_json::value::RawValue> =
        serde_json::from_str(text.expose()).map_err(schema)?;
    // Names of members are told apart by their letters alone, as by Amazon's agent.
    let member = |name: &str| {
        let found = members.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        let value = found.map(|(_, raw)| serde_json::from_str::<Option<String>>(raw.get()));
        let value = value.transpose().map_err(schema)?.flatten().map(Secret::new);
        let empty = || format!("{name}: AuthorizationData is malformed, empty field");
        value.filter(|value| !value.expose().is_empty()).ok_or_else(empty)
    };
    Ok(Credentials::basic(member("username")?.expose(), member("password")?.expose()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        read(&Secret::new(text)).map(|_| ()).unwrap_err()
    }

    #[test]
    fn what_is_wrong_is_told_and_what_is_in_it_is_not() {
        assert!(read(&Secret::new(r#"{"username":"u","password":"p"}"#)).is_ok());
        assert!(read(&Secret::new(r#"{"Username":"u","PASSWORD":"p","more":1}"#)).is_ok());
        assert_eq!(error(""), "authorization data: empty secrets value");
        for schema in ["hunter2", "[]", r#"{"username":1,"password":"hunter2"}"#] {
            let why = error(schema);
            assert!(why.ends_with("invalid schema") && !why.contains("hunter2"), "{why}");
        }
        let empty = "AuthorizationData is malformed, empty field";
        assert_eq!(error(r#"{"password":"hunter2"}"#), format!("username: {empty}"));
        assert_eq!(error(r#"{"username":"u","password":""}"#), format!("password: {empty}"));
        assert_eq!(error(r#"{"username":"u","password":null}"#), format!("password: {empty}"));
    }
}
