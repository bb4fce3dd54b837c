//! What a task definition's `valueFrom` names: a parameter of the Parameter Store, or a secret of
//! Secrets Manager with a key of its JSON, a staging label and a version.

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretReference {
    /// A parameter, by the name or ARN that GetParameters takes.
    Parameter {
        /// Its name or ARN, with a version or label behind it if there is one.
        name: String,
        /// The region that an ARN names.
        region: Option<String>,
    },
    /// A secret.
    Secret {
        /// Its ARN, whole or without its last six characters.
        id: String,
        /// A key of the JSON object that it holds.
        json_key: Option<String>,
        /// A staging label.
        stage: Option<String>,
        /// A version's id.
        version: Option<String>,
        /// The region that the ARN names.
        region: String,
    },
}

/// Why a text names nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Nothing was said.
    #[error("it is empty")]
    Empty,
    /// An ARN of something else.
    #[error("the ARN names neither a parameter of Systems Manager nor a secret of Secrets Manager")]
    Service,
    /// An ARN with too few or too many parts.
    #[error(
        "an invalid ARN format for the AWS Secrets Manager secret was specified. Specify a valid \
         ARN and try again"
    )]
    Parts,
}

impl SecretReference {
    /// Reads a `valueFrom`.
    ///
    /// # Errors
    /// If it names nothing that values come from.
    pub fn parse(text: &str) -> Result<Self, Error> {
        if text.is_empty() {
            return Err(Error::Empty);
        }
        let Some(arn) = text.strip_prefix("arn:") else {
            return Ok(Self::Parameter { name: text.to_owned(), region: None });
        };
        let mut parts = arn.splitn(5, ':');
        let (Some(_), Some(service), Some(region), Some(_), Some(resource)) =
            (parts.next(), parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(Error::Service);
        };
        match service {
            "ssm" if resource.starts_with("parameter/") => {
                Ok(Self::Parameter { name: text.to_owned(), region: Some(region.to_owned()) })
            }
            "secretsmanager" if resource.starts_with("secret:") => {
                Self::secret(text, region, resource)
            }
            _ => Err(Error::Service),
        }
    }

    /// `secret:NAME` or `secret:NAME:JSON-KEY:STAGE:VERSION`, whose last three may be empty.
    fn secret(text: &str, region: &str, resource: &str) -> Result<Self, Error> {
        let parts: Vec<&str> = resource.split(':').collect();
        let (name, more) = match parts[..] {
            ["secret", name] => (name, ["", "", ""]),
            ["secret", name, key, stage, version] => (name, [key, stage, version]),
            _ => return Err(Error::Parts),
        };
        if name.is_empty() {
            return Err(Error::Parts);
        }
        let rest = resource.len() - "secret:".len() - name.len();
        let given = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let [json_key, stage, version] = more.map(given);
        Ok(Self::Secret {
            id: text[..text.len() - rest].to_owned(),
            json_key,
            stage,
            version,
            region: region.to_owned(),
        })
    }

    /// The region that it names; none is the server's own.
    pub fn region(&self) -> Option<&str> {
        match self {
            Self::Parameter { region, .. } => region.as_deref(),
            Self::Secret { region, .. } => Some(region),
        }
    }

    /// The provider by the name that ECS's agents know.
    pub fn provider(&self) -> &'static str {
        match self {
            Self::Parameter { .. } => "ssm",
            Self::Secret { .. } => "asm",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_and_arns() {
        let secret = "arn:aws:secretsmanager:us-east-1:123456789012:secret:app/db-AbCdEf";
        let parsed = |text: &str| SecretReference::parse(text);
        for name in ["DB_PASSWORD", "/app/db", "/app/db:3"] {
            let parameter = SecretReference::Parameter { name: name.to_owned(), region: None };
            assert_eq!(parsed(name), Ok(parameter));
        }
        let arn = "arn:aws:ssm:eu-west-1:123456789012:parameter/app/db";
        assert_eq!(parsed(arn).unwrap().region(), Some("eu-west-1"));
        let of = |key: Option<&str>, stage: Option<&str>, version: Option<&str>| {
            Ok(SecretReference::Secret {
                id: secret.to_owned(),
                json_key: key.map(str::to_owned),
                stage: stage.map(str::to_owned),
                version: version.map(str::to_owned),
                region: "us-east-1".to_owned(),
            })
        };
        assert_eq!(parsed(secret), of(None, None, None));
        assert_eq!(parsed(&format!("{secret}:user::")), of(Some("user"), None, None));
        assert_eq!(parsed(&format!("{secret}::AWSPREVIOUS:")), of(None, Some("AWSPREVIOUS"), None));
        assert_eq!(parsed(&format!("{secret}:k:s:v")), of(Some("k"), Some("s"), Some("v")));
        assert_eq!(parsed(&format!("{secret}:k")), Err(Error::Parts));
        assert_eq!(parsed("arn:aws:s3:::bucket/key"), Err(Error::Service));
        assert_eq!(parsed("arn:aws:ssm:us-east-1"), Err(Error::Service));
        assert_eq!(parsed(""), Err(Error::Empty));
    }

    proptest! {
        #[test]
        fn what_is_put_together_comes_apart(
            name in "[a-z/_+=.@-]{1,20}", key in "[a-zA-Z0-9]{0,8}", stage in "[A-Z]{0,8}",
            version in "[a-f0-9-]{0,36}",
        ) {
            let id = format!("arn:aws:secretsmanager:us-east-1:123456789012:secret:{name}");
            let parsed = SecretReference::parse(&format!("{id}:{key}:{stage}:{version}")).unwrap();
            let given = |text: String| (!text.is_empty()).then_some(text);
            let (json_key, stage, version) = (given(key), given(stage), given(version));
            let region = "us-east-1".to_owned();
            prop_assert_eq!(parsed, SecretReference::Secret { id, json_key, stage, version, region });
        }

        #[test]
        fn no_text_panics(text in "(arn:)?(aws:)?(secretsmanager|ssm)?.{0,60}") {
            let _ = SecretReference::parse(&text);
        }
    }
}
