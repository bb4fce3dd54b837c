//! Fetching what a task names.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::try_join_all;
use wharf_model::secret_reference::SecretReference;
use wharf_wire::secretsmanager::operation::GetSecretValue;
use wharf_wire::secretsmanager::types::{GetSecretValueRequest, GetSecretValueResponse};
use wharf_wire::ssm::operation::GetParameters;
use wharf_wire::ssm::types::{GetParametersRequest, Parameter};
use wharf_wire::{OperationShape, Service, secretsmanager, ssm};

use super::wording::Wording;
use super::{Secrets, Values, env_file, references};
use crate::api::{EcsClient, Error};
use crate::engine::Failure;
use crate::firelens;
use crate::task::{Secret, Task};

/// The most parameters of one call (SSM API GetParameters).
const PARAMETERS: usize = 10;
/// Tries at a call while the server can't be reached, and the pause between them.
const TRIES: u32 = 40;
const TRY_AGAIN: Duration = Duration::from_millis(500);

/// Why there is no object.
const NO_STORE: &str = "this agent knows no object store: it was started without --s3-endpoint";

type Map = BTreeMap<String, Secret>;

/// A secret's value as it is asked for: id, stage, version.
type Version = (String, Option<String>, Option<String>);

impl Secrets {
    /// Fetches all that a task names.
    pub(super) async fn fetch(&self, task: &Task) -> Result<Values, Failure> {
        let wording = Wording::of(task);
        let (references, files) = (self.references(task, &wording), self.files(task, &wording));
        let router = self.router_config(task);
        let (by_reference, by_container, router_config) =
            tokio::try_join!(references, files, router)?;
        Ok(Values { by_reference, by_container, router_config })
    }

    /// Parameters and secrets. A task that names none needs no role either.
    async fn references(&self, task: &Task, wording: &Wording) -> Result<Map, Failure> {
        let mut parameters = Vec::new();
        let mut versions: BTreeMap<Version, Vec<(String, Option<String>)>> = BTreeMap::new();
        for text in references(task) {
            match SecretReference::parse(text) {
                Ok(SecretReference::Parameter { .. }) => parameters.push(text.to_owned()),
                Ok(SecretReference::Secret { id, json_key, stage, version, .. }) => {
                    let wanted = versions.entry((id, stage, version)).or_default();
                    wanted.push((text.to_owned(), json_key));
                }
                Err(error) => return Err(wording.reference(text, &error)),
            }
        }
        if parameters.is_empty() && versions.is_empty() {
            return Ok(Map::new());
        }
        let client = &self.client_of(task).await?;
        let batches = parameters.chunks(PARAMETERS);
        let batches = try_join_all(batches.map(|names| self.parameters(client, names, wording)));
        let secrets = versions.into_iter();
        let secrets = try_join_all(
            secrets.map(|(version, wanted)| self.secret(client, version, wanted, wording)),
        );
        let (batches, secrets) = tokio::try_join!(batches, secrets)?;
        Ok(batches.into_iter().chain(secrets).flatten().collect())
    }

    /// A log router's own configuration, if it lies in the object store.
    async fn router_config(&self, task: &Task) -> Result<Option<Bytes>, Failure> {
        let Some(arn) = firelens::object(task) else { return Ok(None) };
        let failed = |key: &str, bucket: &str, why: &str| {
            Err(Failure::new(
                "ResourceInitializationError",
                format!(
                    "unable to create firelens resource: unable to download s3 config {key} from \
                     bucket {bucket}: {why}"
                ),
            ))
        };
        let Some((bucket, key)) = env_file::object(arn) else {
            return failed(arn, "", "the ARN names no object of S3");
        };
        let Some(store) = &self.inner.objects else { return failed(key, bucket, NO_STORE) };
        let _permit = self.inner.permits.acquire().await;
        match store.get(bucket, key).await {
            Ok(content) => Ok(Some(content)),
            Err(why) => failed(key, bucket, &why),
        }
    }

    /// A call, again and again while the server can't be reached.
    pub(super) async fn call<O: OperationShape>(
        &self,
        client: &EcsClient,
        service: Service,
        input: O::Input,
    ) -> Result<O::Output, Error>
    where
        O::Input: Clone,
    {
        let mut tries = 1;
        loop {
            let result = {
                let _permit = self.inner.permits.acquire().await;
                client.call_service::<O>(service, input.clone()).await
            };
            match result {
                Err(error) if error.is_transient() && tries < TRIES => tries += 1,
                done => return done,
            }
            tokio::time::sleep(TRY_AGAIN).await;
        }
    }

    async fn parameters(
        &self,
        client: &EcsClient,
        names: &[String],
        wording: &Wording,
    ) -> Result<Map, Failure> {
        let input =
            GetParametersRequest { names: Some(names.to_vec()), with_decryption: Some(true) };
        let answer = self.call::<GetParameters>(client, ssm::SERVICE, input).await;
        let answer = answer.map_err(|error| wording.parameters(&said(&error)))?;
        let invalid = answer.invalid_parameters.unwrap_or_default();
        if !invalid.is_empty() {
            return Err(wording.invalid_parameters(&invalid));
        }
        let mut values = Map::new();
        for mut parameter in answer.parameters.unwrap_or_default() {
            let value = Secret::new(parameter.value.take().unwrap_or_default());
            for name in names.iter().filter(|name| answers(name, &parameter)) {
                values.insert(name.clone(), checked(name, value.clone(), wording)?);
            }
        }
        match names.iter().find(|name| !values.contains_key(*name)) {
            Some(missing) => Err(wording.invalid_parameters(std::slice::from_ref(missing))),
            None => Ok(values),
        }
    }

    async fn secret(
        &self,
        client: &EcsClient,
        (id, stage, version): Version,
        wanted: Vec<(String, Option<String>)>,
        wording: &Wording,
    ) -> Result<Map, Failure> {
        let input = GetSecretValueRequest {
            secret_id: Some(id.clone()),
            version_stage: stage,
            version_id: version,
        };
        let answer = self.call::<GetSecretValue>(client, secretsmanager::SERVICE, input).await;
        let answer = answer.map_err(|error| wording.secret(&id, &said(&error)))?;
        let text = text(answer).map_err(|why| wording.secret(&id, &why))?;
        let mut values = Map::new();
        for (reference, key) in wanted {
            let value = match key {
                None => text.clone(),
                Some(key) => member(&text, &key).map_err(|why| wording.secret(&id, &why))?,
            };
            values.insert(reference.clone(), checked(&reference, value, wording)?);
        }
        Ok(values)
    }

    /// The variables of every container's files. Of a name that stands in several, the first counts.
    async fn files(
        &self,
        task: &Task,
        wording: &Wording,
    ) -> Result<BTreeMap<String, Vec<(String, Secret)>>, Failure> {
        let mut by_container = BTreeMap::new();
        for container in &task.containers {
            let files = container.environment_files.iter();
            let files = try_join_all(files.map(|arn| self.file(arn, wording))).await?;
            let mut variables: Vec<(String, Secret)> = Vec::new();
            for (name, value) in files.into_iter().flatten() {
                if !variables.iter().any(|(known, _)| *known == name) {
                    variables.push((name, value));
                }
            }
            if !variables.is_empty() {
                by_container.insert(container.name.clone(), variables);
            }
        }
        Ok(by_container)
    }

    async fn file(&self, arn: &str, wording: &Wording) -> Result<Vec<(String, Secret)>, Failure> {
        let Some((bucket, key)) = env_file::object(arn) else {
            return Err(wording.file("", arn, "the ARN names no object of S3"));
        };
        let Some(store) = &self.inner.objects else {
            return Err(wording.file(bucket, key, NO_STORE));
        };
        let _permit = self.inner.permits.acquire().await;
        let content = store.get(bucket, key).await;
        let content = content.map_err(|why| wording.file(bucket, key, &why))?;
        let text = std::str::from_utf8(&content)
            .map_err(|_| wording.file(bucket, key, "the object isn't UTF-8"))?;
        if text.contains('\0') {
            return Err(wording.file(
                bucket,
                key,
                "the object has a NUL, which no variable can hold",
            ));
        }
        Ok(env_file::parse(text))
    }
}

/// Whether this is the parameter that was asked for by this name, or by its ARN, with its selector.
fn answers(asked: &str, parameter: &Parameter) -> bool {
    let selector = parameter.selector.as_deref().unwrap_or_default();
    let plain = asked.strip_suffix(selector);
    plain.is_some() && (plain == parameter.name.as_deref() || plain == parameter.arn.as_deref())
}

/// The secret's text.
fn text(answer: GetSecretValueResponse) -> Result<Secret, String> {
    match answer.secret_string {
        Some(text) => Ok(Secret::new(text)),
        None => {
            Err("the secret holds bytes (SecretBinary), which can't be given to a container as \
                     text"
                .to_owned())
        }
    }
}

/// A member of the JSON object that a secret holds. The errors say nothing of what is in it.
fn member(text: &Secret, key: &str) -> Result<Secret, String> {
    let object: BTreeMap<String, &serde_json::value::RawValue> = serde_json::from_str(
        text.expose(),
    )
    .map_err(|_| {
        "retrieved secret from Secrets Manager is not a JSON object, and a json key was asked for"
            .to_owned()
    })?;
    let raw = object.get(key).ok_or_else(|| {
        format!("retrieved secret from Secrets Manager did not contain json key {key}")
    })?;
    // A text as it is; anything else as it stands there.
    match serde_json::from_str::<String>(raw.get()) {
        Ok(text) => Ok(Secret::new(text)),
        Err(_) => Ok(Secret::new(raw.get())),
    }
}

/// A value that an environment can hold.
fn checked(reference: &str, value: Secret, wording: &Wording) -> Result<Secret, Failure> {
    match value.expose().contains('\0') {
        true => {
            Err(wording
                .told(format!("the value of {reference} has a NUL, which no variable can hold")))
        }
        false => Ok(value),
    }
}

/// An error as clients of the API tell it.
pub(super) fn said(error: &Error) -> String {
    match error {
        Error::Refused { code, message, .. } => format!("{code}: {message}"),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_found_by_what_was_asked() {
        let arn = "arn:aws:ssm:us-east-1:1:parameter/a/b";
        let parameter = |selector: Option<&str>| Parameter {
            name: Some("/a/b".to_owned()),
            arn: Some(arn.to_owned()),
            selector: selector.map(str::to_owned),
            ..Default::default()
        };
        let plain = parameter(None);
        assert!(answers("/a/b", &plain) && answers(arn, &plain));
        assert!(!answers("/a/b:1", &plain) && !answers("/a", &plain));
        let third = parameter(Some(":3"));
        assert!(answers("/a/b:3", &third) && answers(&format!("{arn}:3"), &third));
        assert!(!answers("/a/b", &third) && !answers("/a/b:13", &third));
    }

    #[test]
    fn members_of_json() {
        let secret =
            Secret::new(r#"{"user":"jo \"x\"","port":5432,"big":1000000,"tls":true,"o":{"a":1}}"#);
        let value = |key: &str| member(&secret, key).map(|s| s.expose().to_owned());
        assert_eq!(value("user").unwrap(), "jo \"x\"");
        assert_eq!(value("port").unwrap(), "5432");
        assert_eq!(value("big").unwrap(), "1000000");
        assert_eq!(value("tls").unwrap(), "true");
        assert_eq!(value("o").unwrap(), "{\"a\":1}");
        assert!(value("none").unwrap_err().ends_with("did not contain json key none"));
        let error = member(&Secret::new("hunter2"), "a").map(|_| ()).unwrap_err();
        assert!(!error.contains("hunter2"), "{error}");
    }
}
