//! The option `tag`: docker's template of how a line is marked, `{{.Name}}/{{.ID}}`.

use super::Options;

/// The length of a short id.
const SHORT: usize = 12;

/// What a template can name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Id,
    FullId,
    Name,
    ImageId,
    ImageFullId,
    ImageName,
    DaemonName,
}

const FIELDS: &[(&str, Field)] = &[
    ("ID", Field::Id),
    ("FullID", Field::FullId),
    ("Name", Field::Name),
    ("ImageID", Field::ImageId),
    ("ImageFullID", Field::ImageFullId),
    ("ImageName", Field::ImageName),
    ("DaemonName", Field::DaemonName),
];

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Field(Field),
}

/// A template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tag(Vec<Part>);

/// What a container is called.
#[derive(Debug, Clone, Copy)]
pub struct Names<'a> {
    /// Its id.
    pub id: &'a str,
    /// Its name, as docker would have it.
    pub name: &'a str,
    /// Its image's id, `sha256:…`.
    pub image_id: &'a str,
    /// Its image's name.
    pub image_name: &'a str,
}

impl Tag {
    /// The template of a driver's options: the container's short id unless one is given.
    ///
    /// # Errors
    /// If it isn't a template, or names what isn't known.
    pub fn of(options: &Options) -> Result<Self, String> {
        match options.get("tag").filter(|tag| !tag.is_empty()) {
            Some(text) => Self::parse(text),
            None => Ok(Self(vec![Part::Field(Field::Id)])),
        }
    }

    /// Reads a template.
    ///
    /// # Errors
    /// If it isn't one, or names what isn't known.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("{{") {
            let (inside, after) =
                after.split_once("}}").ok_or("template: log-tag:1: unclosed action")?;
            let (before, inside, after) = trimmed(before, inside, after);
            parts.push(Part::Text(before.to_owned()));
            parts.push(Part::Field(field(inside)?));
            rest = after;
        }
        parts.push(Part::Text(rest.to_owned()));
        parts.retain(|part| !matches!(part, Part::Text(text) if text.is_empty()));
        Ok(Self(parts))
    }

    /// The text for a container.
    pub fn render(&self, names: &Names<'_>) -> String {
        let image = names.image_id.rsplit(':').next().unwrap_or_default();
        let one = |part: &Part| match part {
            Part::Text(text) => text.clone(),
            Part::Field(Field::Id) => short(names.id),
            Part::Field(Field::FullId) => names.id.to_owned(),
            Part::Field(Field::Name) => names.name.to_owned(),
            Part::Field(Field::ImageId) => short(image),
            Part::Field(Field::ImageFullId) => names.image_id.to_owned(),
            Part::Field(Field::ImageName) => names.image_name.to_owned(),
            // As docker calls itself.
            Part::Field(Field::DaemonName) => "docker".to_owned(),
        };
        self.0.iter().map(one).collect()
    }
}

/// `{{- x -}}` takes away the space around it.
fn trimmed<'a>(before: &'a str, inside: &'a str, after: &'a str) -> (&'a str, &'a str, &'a str) {
    let (before, inside) = match inside.strip_prefix("- ") {
        Some(inside) => (before.trim_end(), inside),
        None => (before, inside),
    };
    match inside.strip_suffix(" -") {
        Some(inside) => (before, inside.trim(), after.trim_start()),
        None => (before, inside.trim(), after),
    }
}

fn field(inside: &str) -> Result<Field, String> {
    let name = inside
        .strip_prefix('.')
        .filter(|name| !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric()));
    let Some(name) = name else {
        return Err(format!(
            "template: log-tag:1: {{{{{inside}}}}} is not supported by this server"
        ));
    };
    let found = FIELDS.iter().find(|(known, _)| *known == name);
    found
        .map(|(_, field)| *field)
        .ok_or_else(|| format!("template: log-tag:1: can't evaluate field {name}"))
}

fn short(id: &str) -> String {
    id.chars().take(SHORT).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NAMES: Names<'_> = Names {
        id: "0123456789abcdef0123",
        name: "ecs-web-1-app-0011",
        image_id: "sha256:fedcba9876543210",
        image_name: "shop/web:3",
    };

    #[test]
    fn fields_stand_for_what_the_container_is_called() {
        let rendered = |text| Tag::parse(text).unwrap().render(&NAMES);
        assert_eq!(rendered("{{.ID}}"), "0123456789ab");
        assert_eq!(
            rendered("x/{{.Name}}/{{ .FullID }}"),
            "x/ecs-web-1-app-0011/0123456789abcdef0123"
        );
        assert_eq!(rendered("{{.ImageName}} {{.ImageID}}"), "shop/web:3 fedcba987654");
        assert_eq!(rendered("{{.ImageFullID}}"), "sha256:fedcba9876543210");
        assert_eq!(rendered("a  {{- .DaemonName -}}  b"), "adockerb");
        assert_eq!(rendered("plain } text"), "plain } text");
        assert_eq!(Tag::of(&Options::new()).unwrap().render(&NAMES), "0123456789ab");
    }

    #[test]
    fn what_is_none_is_told() {
        let error = |text| Tag::parse(text).unwrap_err();
        assert_eq!(error("{{.Foo}}"), "template: log-tag:1: can't evaluate field Foo");
        assert_eq!(error("{{.Name"), "template: log-tag:1: unclosed action");
        assert!(error("{{lower .Name}}").contains("{{lower .Name}} is not supported"));
        assert!(error("{{}}").contains("not supported"));
        assert!(error("{{.}}").contains("not supported"));
    }

    proptest! {
        #[test]
        fn nothing_panics(text in "[{}. -]{0,8}[A-Za-z{}. -]{0,20}") {
            if let Ok(tag) = Tag::parse(&text) {
                tag.render(&NAMES);
            }
        }

        #[test]
        fn text_without_braces_is_itself(text in "[^{]{0,30}") {
            prop_assert_eq!(Tag::parse(&text).unwrap().render(&NAMES), text);
        }
    }
}
