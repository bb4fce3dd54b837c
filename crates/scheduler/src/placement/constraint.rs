//! What a host must be for a task to run on it: required attributes, architecture and operating
//! system, distinctInstance and memberOf.

use wharf_model::cql::{self, Facts};
use wharf_model::task_definition::PlacementConstraint;
use wharf_model::{ContainerInstance, TaskDefinition};

/// Why a list of constraints can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Neither distinctInstance nor memberOf.
    #[error(
        "The placement constraint type {0:?} is not valid. Valid types: distinctInstance, memberOf."
    )]
    UnknownType(String),
    /// memberOf needs an expression.
    #[error("The placement constraint memberOf needs an expression.")]
    ExpressionMissing,
    /// distinctInstance takes none.
    #[error("The placement constraint distinctInstance takes no expression.")]
    ExpressionNotAllowed,
    /// The expression doesn't parse.
    #[error("{0}")]
    Expression(#[from] cql::Error),
}

/// Constraints in the form that placement evaluates.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Constraints {
    /// At most one task of the group on an instance.
    pub distinct_instance: bool,
    member_of: Vec<(String, cql::Expr)>,
}

impl Constraints {
    /// Checks and parses constraints, such as a task definition's chained with a request's.
    ///
    /// # Errors
    /// The first that isn't valid, in words for the API's caller.
    pub fn parse<'a>(
        constraints: impl IntoIterator<Item = &'a PlacementConstraint>,
    ) -> Result<Self, Error> {
        let mut parsed = Self::default();
        for constraint in constraints {
            let expression = constraint.expression.as_deref().filter(|e| !e.is_empty());
            match (constraint.kind.as_str(), expression) {
                ("distinctInstance", None) => parsed.distinct_instance = true,
                ("distinctInstance", Some(_)) => return Err(Error::ExpressionNotAllowed),
                ("memberOf", None) => return Err(Error::ExpressionMissing),
                ("memberOf", Some(text)) => {
                    parsed.member_of.push((text.to_owned(), cql::parse(text)?));
                }
                (other, _) => return Err(Error::UnknownType(other.to_owned())),
            }
        }
        Ok(parsed)
    }

    /// The first memberOf expression that is false of an instance.
    pub(super) fn broken_by(&self, facts: &Facts<'_>) -> Option<String> {
        let broken = self.member_of.iter().find(|(_, expr)| !expr.matches(facts));
        broken.map(|(text, _)| text.clone())
    }
}

/// The first attribute that the task definition demands and the instance lacks.
pub(super) fn missing_attribute(
    definition: &TaskDefinition,
    instance: &ContainerInstance,
) -> Option<String> {
    let required = definition.requires_attributes.iter();
    if let Some(name) = required.into_iter().find(|name| instance.attribute(name).is_none()) {
        return Some(name.clone());
    }
    let platform = definition.runtime_platform.as_ref()?;
    let demands = |attribute: &str, value: Option<&str>| {
        let value = value?;
        let has = instance.attribute_value(attribute);
        (has != Some(value)).then(|| format!("{attribute}={value}"))
    };
    let architecture = platform.cpu_architecture.as_deref().and_then(|a| match a {
        "X86_64" => Some("x86_64"),
        "ARM64" => Some("arm64"),
        _ => None,
    });
    let system = match platform.operating_system_family.as_deref() {
        Some("LINUX") => Some("linux"),
        Some(_) => Some("windows"),
        None => None,
    };
    demands("ecs.cpu-architecture", architecture).or_else(|| demands("ecs.os-type", system))
}
