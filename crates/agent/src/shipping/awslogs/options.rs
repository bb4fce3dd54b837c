//! The driver's options: docker's names, docker's meanings.

use std::collections::BTreeMap;

use regex::Regex;

use wharf_model::log_driver::parse_flag;

use crate::task::Task;

/// The options of one container.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// `awslogs-group`.
    pub(crate) group: String,
    /// `awslogs-create-group`.
    pub(crate) create_group: bool,
    /// What an event's first line looks like, by `awslogs-multiline-pattern` or
    /// `awslogs-datetime-format`.
    pub(crate) begins: Option<Regex>,
    prefix: Option<String>,
}

impl Settings {
    /// Reads options; the error says what is wrong with them.
    pub(crate) fn parse(options: &BTreeMap<String, String>) -> Result<Self, String> {
        let option = |name: &str| options.get(name).filter(|value| !value.is_empty());
        let group = option("awslogs-group").ok_or("awslogs-group is required")?;
        let pattern = match (option("awslogs-multiline-pattern"), option("awslogs-datetime-format"))
        {
            (Some(_), Some(_)) => {
                return Err("you cannot configure log opt 'awslogs-datetime-format' and \
                    'awslogs-multiline-pattern' at the same time"
                    .to_owned());
            }
            (Some(pattern), None) => Some(pattern.clone()),
            (None, Some(format)) => Some(date_pattern(format)?),
            (None, None) => None,
        };
        let compiled = pattern.map(|pattern| {
            Regex::new(&pattern)
                .map_err(|_| format!("awslogs could not parse multiline pattern key \"{pattern}\""))
        });
        let create = option("awslogs-create-group").map_or(Ok(false), |value| {
            parse_flag(value)
                .ok_or_else(|| format!("awslogs-create-group: invalid syntax {value:?}"))
        });
        Ok(Self {
            group: group.clone(),
            create_group: create?,
            begins: compiled.transpose()?,
            prefix: option("awslogs-stream-prefix").cloned(),
        })
    }

    /// The stream's name, if there is a prefix to make it from.
    pub(crate) fn stream(&self, task: &Task, container: &str) -> Option<String> {
        self.prefix.as_ref().map(|prefix| format!("{prefix}/{container}/{}", task.id))
    }
}

/// The regular expression of a date in strftime's notation.
fn date_pattern(format: &str) -> Result<String, String> {
    let mut pattern = String::new();
    let mut characters = format.chars();
    while let Some(character) = characters.next() {
        if character != '%' {
            pattern.push_str(&regex::escape(character.encode_utf8(&mut [0; 4])));
            continue;
        }
        let letter = characters.next();
        pattern.push_str(match letter {
            Some('a') => "(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)",
            Some('A') => "(?:Monday|Tuesday|Wednesday|Thursday|Friday|Saturday|Sunday)",
            Some('b' | 'h') => "(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)",
            Some('B') => {
                "(?:January|February|March|April|May|June|July|August|September|October|\
                 November|December)"
            }
            Some('d') => "(?:0[1-9]|[12][0-9]|3[01])",
            Some('f') => r"\d{6}",
            Some('F') => r"\d{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])",
            Some('H') => "(?:[01][0-9]|2[0-3])",
            Some('I') => "(?:0[0-9]|1[0-2])",
            Some('j') => r"\d{3}",
            Some('L') => r"\.\d{3}",
            Some('m') => "(?:0[1-9]|1[0-2])",
            Some('M') => "[0-5][0-9]",
            Some('p') => "[AP]M",
            Some('S') => "[0-5][0-9]",
            Some('T') => "(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]",
            Some('w') => "[0-6]",
            Some('y') => r"\d{2}",
            Some('Y') => r"\d{4}",
            Some('z') => r"[+-]\d{4}",
            Some('Z') => "[A-Z]{1,4}",
            Some('%') => "%",
            other => {
                let letter = other.map(String::from).unwrap_or_default();
                return Err(format!("awslogs-datetime-format: %{letter} is not known"));
            }
        });
    }
    Ok(pattern)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(options: &[(&str, &str)]) -> Result<Settings, String> {
        let pairs = options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Settings::parse(&pairs.collect())
    }

    #[test]
    fn dates_in_strftime_begin_events() {
        let options = [("awslogs-group", "g"), ("awslogs-datetime-format", "[%b %d, %Y %H:%M:%S]")];
        let begins = settings(&options).unwrap().begins.unwrap();
        assert!(begins.is_match("[May 01, 2017 19:00:01] started"));
        assert!(!begins.is_match("  at Foo.java:12"));
        assert!(!begins.is_match("xMay 01, 2017 19:00:01] started"));
    }

    #[test]
    fn options_are_checked() {
        let why = |options: &[(&str, &str)]| settings(options).unwrap_err();
        assert_eq!(why(&[]), "awslogs-group is required");
        let group = ("awslogs-group", "g");
        assert!(why(&[group, ("awslogs-multiline-pattern", "(")]).contains("could not parse"));
        assert!(why(&[group, ("awslogs-create-group", "maybe")]).contains("invalid syntax"));
        assert!(why(&[group, ("awslogs-datetime-format", "%Q")]).contains("%Q is not known"));
        let both = [group, ("awslogs-multiline-pattern", "x"), ("awslogs-datetime-format", "%Y")];
        assert!(why(&both).contains("at the same time"));
        assert!(settings(&[group, ("awslogs-create-group", "true")]).unwrap().create_group);
    }
}
