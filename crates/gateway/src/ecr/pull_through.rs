//! Rules of pull-through caches. Any registry may be an upstream that this server reaches, with what a
//! secret of Secrets Manager says, or as nobody in particular.

use super::{Ecr, ecr, invalid, names, settings, wire_time};
use crate::authorize;
use crate::ecs::page;
use crate::error::ApiError;
use crate::registry::access::Resource;
use crate::registry::import;
use crate::registry::templates::ROOT;
use crate::secretsmanager::{self, NoText};
use wharf_model::policy::Decision;
use wharf_model::{PullThroughRule, RegistrySettings};
use wharf_wire::ecr::ErrorCode;
use wharf_wire::ecr::types::{
    CreatePullThroughCacheRuleRequest, CreatePullThroughCacheRuleResponse,
    DeletePullThroughCacheRuleRequest, DeletePullThroughCacheRuleResponse,
    DescribePullThroughCacheRulesRequest, DescribePullThroughCacheRulesResponse,
    PullThroughCacheRule, UpdatePullThroughCacheRuleRequest, UpdatePullThroughCacheRuleResponse,
    ValidatePullThroughCacheRuleRequest, ValidatePullThroughCacheRuleResponse,
};

/// Rules at most, as in ECR.
const MAX_RULES: usize = 50;
/// Rules on a page at most, and where nothing is said.
const PAGE: i32 = 1000;
const DEFAULT_PAGE: i32 = 100;

/// ECR's names of registries, by their hosts, and by what their hosts end with.
const HOSTS: [(&str, &str); 7] = [
    ("registry-1.docker.io", "docker-hub"),
    ("public.ecr.aws", "ecr-public"),
    ("quay.io", "quay"),
    ("registry.k8s.io", "k8s"),
    ("ghcr.io", "github-container-registry"),
    ("registry.gitlab.com", "gitlab-container-registry"),
    ("cgr.dev", "chainguard"),
];
const DOMAINS: [(&str, &str); 2] =
    [(".azurecr.io", "azure-container-registry"), (".amazonaws.com", "ecr")];

/// ECR's name of a registry, if it has one.
fn kind(host: &str) -> Option<&'static str> {
    let known = HOSTS.iter().find(|(known, _)| *known == host);
    let below = || DOMAINS.iter().find(|(domain, _)| host.ends_with(domain));
    known.or_else(below).map(|(_, kind)| *kind)
}

/// The `host[:port]` of an upstream's address.
fn host(url: &str) -> Option<String> {
    let rest = url.strip_prefix("https://").unwrap_or(url).trim_end_matches('/');
    let (name, port) = match rest.rsplit_once(':') {
        Some((name, port)) => (name, Some(port)),
        None => (rest, None),
    };
    let label = |label: &str| {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
        !label.is_empty() && label.len() <= 63 && label.bytes().all(plain)
    };
    // A name without a dot would be one of Docker Hub's to a registry's client.
    let named = name.len() <= 253 && name.split('.').all(label);
    let is_host = name.contains('.') || port.is_some() || name == "localhost";
    let port_fits = port.is_none_or(|port| port.parse::<u16>().is_ok());
    (named && is_host && port_fits).then(|| rest.to_ascii_lowercase())
}

/// True for this registry's own names.
fn is_own(call: &Ecr<'_>, host: &str) -> bool {
    let arns = call.app.arns();
    let ecr_name = format!("{}.dkr.ecr.{}.amazonaws.com", arns.account, arns.region);
    let endpoint = call.app.endpoint();
    let listens = endpoint.split_once("://").map_or(endpoint, |(_, host)| host);
    let own = [ecr_name.as_str(), listens.trim_end_matches('/'), &names::registry_host(call.app)];
    own.contains(&host)
}

fn unknown(call: &Ecr<'_>, prefix: &str) -> ApiError {
    let message = format!(
        "The pull through cache rule with prefix '{prefix}' does not exist in the registry with id \
         '{}'",
        call.id()
    );
    ecr(ErrorCode::PullThroughCacheRuleNotFoundException, message)
}

fn refuse_role(role: Option<&String>) -> Result<(), ApiError> {
    match role.is_some_and(|role| !role.is_empty()) {
        true => Err(invalid(
            "customRoleArn",
            "is not supported by this server: upstreams are asked with a secret's content",
        )),
        false => Ok(()),
    }
}

/// Demands that the secret is there, and that the caller may read it: with a rule of its own a caller
/// could have it sent anywhere.
fn check_secret(call: &Ecr<'_>, arn: Option<&String>) -> Result<(), ApiError> {
    let Some(arn) = arn else { return Ok(()) };
    let (arns, snapshot) = (call.app.arns(), call.app.store().snapshot());
    let action = "secretsmanager:GetSecretValue";
    if authorize::allows(&snapshot, arns, call.identity, action, arn) != Decision::Allowed {
        let message = format!("You are not authorized to perform: {action} on resource: {arn}");
        return Err(ecr(ErrorCode::UnableToAccessSecretException, message));
    }
    match secretsmanager::current(&snapshot, arns, call.app.vault(), arn, call.now) {
        Ok(_) => Ok(()),
        Err(error @ NoText::Absent(_)) => {
            Err(ecr(ErrorCode::SecretNotFoundException, error.to_string()))
        }
        Err(error @ NoText::Sealed(..)) => {
            Err(ecr(ErrorCode::UnableToDecryptSecretValueException, error.to_string()))
        }
    }
}

pub(super) async fn create(
    call: &Ecr<'_>,
    input: CreatePullThroughCacheRuleRequest,
) -> Result<CreatePullThroughCacheRuleResponse, ApiError> {
    call.demand(Resource::Registry)?;
    call.registry(input.registry_id.as_ref())?;
    refuse_role(input.custom_role_arn.as_ref())?;
    let url = input.upstream_registry_url.unwrap_or_default();
    let unsupported = |why: String| ecr(ErrorCode::UnsupportedUpstreamRegistryException, why);
    let upstream = host(&url).ok_or_else(|| {
        unsupported(format!("The upstream registry URL '{url}' is no host[:port] of a registry."))
    })?;
    if is_own(call, &upstream) {
        let why = format!("The upstream registry URL '{url}' is this registry's own.");
        return Err(unsupported(why));
    }
    let kind = kind(&upstream);
    let asked = input.upstream_registry.map(|kind| kind.to_string());
    if asked.as_deref().is_some_and(|asked| kind != Some(asked)) {
        let asked = asked.unwrap_or_default();
        let why =
            format!("The upstream registry URL '{url}' isn't one of upstream registry {asked}.");
        return Err(unsupported(why));
    }
    check_secret(call, input.credential_arn.as_ref())?;
    let prefix = input.ecr_repository_prefix.unwrap_or_default();
    let rule = PullThroughRule {
        upstream,
        kind: kind.map(str::to_owned),
        upstream_prefix: input.upstream_repository_prefix.unwrap_or_else(|| ROOT.to_owned()),
        credential_arn: input.credential_arn,
        created_at: call.now,
        updated_at: call.now,
    };
    let change = |settings: &mut RegistrySettings| {
        if settings.pull_through.contains_key(&prefix) {
            let message = format!(
                "The pull through cache rule with prefix '{prefix}' already exists in the registry \
                 with id '{}'",
                call.id()
            );
            return Err(ecr(ErrorCode::PullThroughCacheRuleAlreadyExistsException, message));
        }
        if settings.pull_through.len() >= MAX_RULES {
            let message = format!("A registry has at most {MAX_RULES} pull through cache rules.");
            return Err(ecr(ErrorCode::LimitExceededException, message));
        }
        settings.pull_through.insert(prefix.clone(), rule.clone());
        Ok(())
    };
    call.change_settings(change).await?;
    let shown = shown(call, &prefix, &rule);
    Ok(CreatePullThroughCacheRuleResponse {
        ecr_repository_prefix: shown.ecr_repository_prefix,
        upstream_registry_url: shown.upstream_registry_url,
        created_at: shown.created_at,
        registry_id: shown.registry_id,
        upstream_registry: shown.upstream_registry,
        credential_arn: shown.credential_arn,
        custom_role_arn: None,
        upstream_repository_prefix: shown.upstream_repository_prefix,
    })
}

fn shown(call: &Ecr<'_>, prefix: &str, rule: &PullThroughRule) -> PullThroughCacheRule {
    PullThroughCacheRule {
        ecr_repository_prefix: Some(prefix.to_owned()),
        upstream_registry_url: Some(rule.upstream.clone()),
        created_at: Some(wire_time(rule.created_at)),
        registry_id: Some(call.id()),
        credential_arn: rule.credential_arn.clone(),
        custom_role_arn: None,
        upstream_repository_prefix: Some(rule.upstream_prefix.clone()),
        upstream_registry: rule.kind.as_deref().map(Into::into),
        updated_at: Some(wire_time(rule.updated_at)),
    }
}

/// The rule with this prefix.
fn rule(call: &Ecr<'_>, prefix: &str) -> Result<PullThroughRule, ApiError> {
    let mut rules = settings::of(&call.app.store().snapshot()).pull_through;
    rules.remove(prefix).ok_or_else(|| unknown(call, prefix))
}

pub(super) async fn describe(
    call: &Ecr<'_>,
    input: DescribePullThroughCacheRulesRequest,
) -> Result<DescribePullThroughCacheRulesResponse, ApiError> {
    call.demand(Resource::Registry)?;
    call.registry(input.registry_id.as_ref())?;
    let rules = settings::of(&call.app.store().snapshot()).pull_through;
    let asked = input.ecr_repository_prefixes;
    if let Some(missing) = asked.iter().flatten().find(|prefix| !rules.contains_key(*prefix)) {
        return Err(unknown(call, missing));
    }
    let named = |prefix: &String| asked.as_ref().is_none_or(|list| list.contains(prefix));
    let wanted = rules.iter().filter(|(prefix, _)| named(prefix));
    let request = page::Request {
        next_token: input.next_token.as_deref(),
        max_results: Some(input.max_results.unwrap_or(DEFAULT_PAGE)),
        limit: PAGE,
    };
    let items = wanted.map(|(prefix, rule)| (prefix.clone(), shown(call, prefix, rule)));
    let page = page::page(items, request)?;
    Ok(DescribePullThroughCacheRulesResponse {
        pull_through_cache_rules: Some(page.items),
        next_token: page.next_token,
    })
}

pub(super) async fn update(
    call: &Ecr<'_>,
    input: UpdatePullThroughCacheRuleRequest,
) -> Result<UpdatePullThroughCacheRuleResponse, ApiError> {
    call.demand(Resource::Registry)?;
    call.registry(input.registry_id.as_ref())?;
    refuse_role(input.custom_role_arn.as_ref())?;
    let prefix = input.ecr_repository_prefix.unwrap_or_default();
    rule(call, &prefix)?;
    check_secret(call, input.credential_arn.as_ref())?;
    let change = |settings: &mut RegistrySettings| {
        let rule = settings.pull_through.get_mut(&prefix).ok_or_else(|| unknown(call, &prefix))?;
        if input.credential_arn.is_some() {
            rule.credential_arn.clone_from(&input.credential_arn);
        }
        rule.updated_at = call.now;
        Ok(shown(call, &prefix, rule))
    };
    let rule = call.change_settings(change).await?;
    Ok(UpdatePullThroughCacheRuleResponse {
        ecr_repository_prefix: rule.ecr_repository_prefix,
        registry_id: rule.registry_id,
        updated_at: rule.updated_at,
        credential_arn: rule.credential_arn,
        custom_role_arn: None,
        upstream_repository_prefix: rule.upstream_repository_prefix,
    })
}

pub(super) async fn delete(
    call: &Ecr<'_>,
    input: DeletePullThroughCacheRuleRequest,
) -> Result<DeletePullThroughCacheRuleResponse, ApiError> {
    call.demand(Resource::Registry)?;
    call.registry(input.registry_id.as_ref())?;
    let prefix = input.ecr_repository_prefix.unwrap_or_default();
    let change = |settings: &mut RegistrySettings| {
        let gone = settings.pull_through.remove(&prefix).ok_or_else(|| unknown(call, &prefix))?;
        Ok(shown(call, &prefix, &gone))
    };
    let rule = call.change_settings(change).await?;
    Ok(DeletePullThroughCacheRuleResponse {
        ecr_repository_prefix: rule.ecr_repository_prefix,
        upstream_registry_url: rule.upstream_registry_url,
        created_at: rule.created_at,
        registry_id: rule.registry_id,
        credential_arn: rule.credential_arn,
        custom_role_arn: None,
        upstream_repository_prefix: rule.upstream_repository_prefix,
    })
}

pub(super) async fn validate(
    call: &Ecr<'_>,
    input: ValidatePullThroughCacheRuleRequest,
) -> Result<ValidatePullThroughCacheRuleResponse, ApiError> {
    call.demand(Resource::Registry)?;
    call.registry(input.registry_id.as_ref())?;
    let prefix = input.ecr_repository_prefix.unwrap_or_default();
    let rule = rule(call, &prefix)?;
    let asked = match (import::upstream(call.app, &rule, "any".to_owned()), call.app.remotes()) {
        (Err(error), _) => Err(error.to_string()),
        (Ok(upstream), Some(remotes)) => {
            remotes.check(&upstream).await.map_err(|error| error.to_string())
        }
        (Ok(_), None) => Err("this server reaches no other registries".to_owned()),
    };
    let shown = shown(call, &prefix, &rule);
    Ok(ValidatePullThroughCacheRuleResponse {
        ecr_repository_prefix: shown.ecr_repository_prefix,
        registry_id: shown.registry_id,
        upstream_registry_url: shown.upstream_registry_url,
        credential_arn: shown.credential_arn,
        custom_role_arn: None,
        upstream_repository_prefix: shown.upstream_repository_prefix,
        is_valid: Some(asked.is_ok()),
        failure: asked.err(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upstream_is_a_registrys_host() {
        for (url, expected) in [
            ("registry-1.docker.io", Some("registry-1.docker.io")),
            ("https://Quay.io/", Some("quay.io")),
            ("localhost:5000", Some("localhost:5000")),
            ("registry:5000", Some("registry:5000")),
            ("registry", None),
            ("http://quay.io", None),
            ("quay.io/team", None),
            ("user@quay.io", None),
            ("quay.io:port", None),
            ("quay..io", None),
            ("", None),
        ] {
            assert_eq!(host(url).as_deref(), expected, "{url}");
        }
        assert_eq!(kind("1.dkr.ecr.eu-west-1.amazonaws.com"), Some("ecr"));
        assert_eq!(kind("team.azurecr.io"), Some("azure-container-registry"));
        assert_eq!(kind("example.com"), None);
    }
}
