//! Transforms of rules.

use super::conditions::regular_expression;
use super::validation;
use crate::error::ApiError;
use wharf_model::load_balancing::{Rewrite, Transform, TransformKind};
use wharf_wire::elbv2::types;

/// Longest expression, and longest replacement.
const LONGEST: usize = 1024;

/// The transforms of a request: at most one of each type, with one rewrite.
pub(super) fn parse(sent: Option<&Vec<types::RuleTransform>>) -> Result<Vec<Transform>, ApiError> {
    let mut transforms: Vec<Transform> = Vec::new();
    for sent in sent.into_iter().flatten() {
        let transform = one(sent)?;
        if transforms.iter().any(|other| other.kind == transform.kind) {
            return Err(validation("A rule can only have one transform of each type"));
        }
        transforms.push(transform);
    }
    Ok(transforms)
}

fn one(sent: &types::RuleTransform) -> Result<Transform, ApiError> {
    let host = sent.host_header_rewrite_config.as_ref();
    let url = sent.url_rewrite_config.as_ref();
    let kind = sent.r#type.as_ref().map_or("", types::TransformTypeEnum::as_str);
    let (kind, rewrites) = match (kind, host, url) {
        ("host-header-rewrite", Some(host), None) => {
            (TransformKind::HostHeaderRewrite, host.rewrites.as_deref())
        }
        ("url-rewrite", None, Some(url)) => (TransformKind::UrlRewrite, url.rewrites.as_deref()),
        ("host-header-rewrite" | "url-rewrite", ..) => {
            return Err(validation(format!(
                "A transform of type '{kind}' must have the configuration of its type alone"
            )));
        }
        _ => {
            return Err(validation(format!(
                "Transform type '{kind}' must be one of '[host-header-rewrite,url-rewrite]'"
            )));
        }
    };
    let [rewrite] = rewrites.unwrap_or_default() else {
        return Err(validation("A transform must have exactly one rewrite"));
    };
    let regex = rewrite.regex.clone().unwrap_or_default();
    let replace = rewrite.replace.clone().unwrap_or_default();
    if regex.is_empty() || regex.len() > LONGEST || replace.len() > LONGEST {
        return Err(validation(format!(
            "The regular expression and the replacement of a rewrite have 1 to '{LONGEST}' \
             characters"
        )));
    }
    regular_expression(&regex)?;
    Ok(Transform { kind, rewrites: vec![Rewrite { regex, replace }] })
}

/// Transforms as ELBv2 shows them.
pub(super) fn view(transforms: &[Transform]) -> Vec<types::RuleTransform> {
    transforms.iter().map(shown).collect()
}

fn shown(transform: &Transform) -> types::RuleTransform {
    let rewrite = |rewrite: &Rewrite| types::RewriteConfig {
        regex: Some(rewrite.regex.clone()),
        replace: Some(rewrite.replace.clone()),
    };
    let rewrites = Some(transform.rewrites.iter().map(rewrite).collect());
    match transform.kind {
        TransformKind::HostHeaderRewrite => types::RuleTransform {
            r#type: Some("host-header-rewrite".into()),
            host_header_rewrite_config: Some(types::HostHeaderRewriteConfig { rewrites }),
            url_rewrite_config: None,
        },
        TransformKind::UrlRewrite => types::RuleTransform {
            r#type: Some("url-rewrite".into()),
            host_header_rewrite_config: None,
            url_rewrite_config: Some(types::UrlRewriteConfig { rewrites }),
        },
    }
}
