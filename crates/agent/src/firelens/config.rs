//! A router's configuration, as Amazon's agent writes it: where lines come from, what is added to
//! them, and where each container's go.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::{BUFFER_LIMIT, CONFIG_TYPE, CONFIG_VALUE, PORT, is_routed, variable};
use crate::task::{Network, Router, RouterKind, Task};

const SOCKET: &str = "/var/run/fluent.sock";
const HEALTH_CHECK_TAG: &str = "firelens-healthcheck";
const HEALTH_CHECK_PORT: &str = "8877";
const LOOPBACK: &str = "127.0.0.1";
const INCLUDE: &str = "include-pattern";
const EXCLUDE: &str = "exclude-pattern";

/// Where a router finds its own configuration that comes from an object store.
pub(super) fn external(kind: RouterKind) -> &'static str {
    match kind {
        RouterKind::Fluentbit => "/fluent-bit/etc/external.conf",
        RouterKind::Fluentd => "/fluentd/etc/external.conf",
    }
}

/// What stands for a secret's value: the router puts a variable's value there.
fn placeholder(kind: RouterKind, variable: &str) -> String {
    match kind {
        RouterKind::Fluentbit => format!("${{{variable}}}"),
        RouterKind::Fluentd => format!("\"#{{ENV['{variable}']}}\""),
    }
}

/// One section of either kind of file.
enum Section {
    /// A source: its plugin, its tag, its options.
    Input { plugin: &'static str, tag: Option<&'static str>, options: Vec<(&'static str, String)> },
    /// Lines are kept, or passed over, by a regular expression.
    Grep { tag: String, pattern: String, is_kept: bool },
    /// Members that are added to each line.
    Record(Vec<(&'static str, String)>),
    /// Another file.
    Include(String),
    /// Where lines go.
    Output { plugin: String, tag: String, options: Vec<(String, String)> },
}

/// The configuration of the task's router.
pub(super) fn render(task: &Task, router: &Router, cluster: &str) -> Result<String, String> {
    let mut text = String::new();
    for section in sections(task, router, cluster)? {
        let values = section.values();
        if let Some(value) = values.iter().find(|value| value.contains(['\n', '\r'])) {
            return Err(format!("a log option must be one line, and {value:?} is not"));
        }
        match router.kind {
            RouterKind::Fluentbit => section.fluent_bit(&mut text),
            RouterKind::Fluentd => section.fluentd(&mut text),
        }
    }
    Ok(text)
}

fn sections(task: &Task, router: &Router, cluster: &str) -> Result<Vec<Section>, String> {
    let is_bit = router.kind == RouterKind::Fluentbit;
    let any = if is_bit { "*" } else { "**" };
    let output_key = if is_bit { "Name" } else { "@type" };
    let mut sections = inputs(task, is_bit);
    let (mut outputs, mut kept, mut passed) = (Vec::new(), Vec::new(), Vec::new());
    if is_bit && !matches!(task.network, Network::Host | Network::None) {
        let (plugin, tag) = ("null".to_owned(), HEALTH_CHECK_TAG.to_owned());
        outputs.push(Section::Output { plugin, tag, options: Vec::new() });
    }
    let routed = task.containers.iter().enumerate();
    for (index, container) in routed.filter(|(_, container)| is_routed(container)) {
        let tag = format!("{}-firelens{any}", container.name);
        let mut options: BTreeMap<String, String> = container.log.options.clone();
        for (option, _) in &container.log_secrets {
            let value = placeholder(router.kind, &variable(option, index));
            options.insert(option.clone(), value);
        }
        let mut take = |name: &str| options.remove(name);
        take(BUFFER_LIMIT);
        let grep = |pattern, is_kept| Section::Grep { tag: tag.clone(), pattern, is_kept };
        kept.extend(take(INCLUDE).map(|pattern| grep(pattern, true)));
        passed.extend(take(EXCLUDE).map(|pattern| grep(pattern, false)));
        match take(output_key) {
            Some(plugin) => {
                let options = options.into_iter().collect();
                outputs.push(Section::Output { plugin, tag, options });
            }
            // The output may be in a file of one's own.
            None if options.is_empty() => {}
            None => {
                let kind = if is_bit { "fluentbit" } else { "fluentd" };
                return Err(format!(
                    "unable to apply log options of container {} to firelens config: missing \
                     output key {output_key} which is required for firelens configuration of type \
                     {kind}",
                    container.name
                ));
            }
        }
    }
    sections.append(&mut kept);
    sections.append(&mut passed);
    let option = |name: &str| router.options.get(name).map(String::as_str);
    if option("enable-ecs-log-metadata") != Some("false") {
        sections.push(Section::Record(vec![
            ("ecs_cluster", cluster.to_owned()),
            ("ecs_task_arn", task.arn.clone()),
            ("ecs_task_definition", format!("{}:{}", task.family, task.version)),
        ]));
    }
    match option(CONFIG_TYPE) {
        Some("file") => {
            let file = option(CONFIG_VALUE).unwrap_or_default();
            sections.push(Section::Include(file.to_owned()));
        }
        Some("s3") => sections.push(Section::Include(external(router.kind).to_owned())),
        _ => {}
    }
    sections.append(&mut outputs);
    Ok(sections)
}

fn inputs(task: &Task, is_bit: bool) -> Vec<Section> {
    let input = |plugin, tag, options: &[(&'static str, &str)]| Section::Input {
        plugin,
        tag,
        options: options.iter().map(|(name, value)| (*name, (*value).to_owned())).collect(),
    };
    let unix = match is_bit {
        true => input("forward", None, &[("Mem_Buf_Limit", "25MB"), ("unix_path", SOCKET)]),
        false => input("unix", None, &[("path", SOCKET)]),
    };
    let listen = match task.network {
        Network::Bridge => "0.0.0.0",
        Network::Awsvpc(_) => LOOPBACK,
        Network::Host | Network::None => return vec![unix],
    };
    if !is_bit {
        return vec![unix, input("forward", None, &[("bind", listen), ("port", PORT)])];
    }
    let health = [("Listen", LOOPBACK), ("Port", HEALTH_CHECK_PORT)];
    vec![
        unix,
        input("forward", None, &[("Listen", listen), ("Port", PORT)]),
        input("tcp", Some(HEALTH_CHECK_TAG), &health),
    ]
}

impl Section {
    /// All that came from outside.
    fn values(&self) -> Vec<&str> {
        match self {
            Self::Input { options, .. } => {
                options.iter().map(|(_, value)| value.as_str()).collect()
            }
            Self::Grep { pattern, .. } => vec![pattern],
            Self::Record(members) => members.iter().map(|(_, value)| value.as_str()).collect(),
            Self::Include(file) => vec![file],
            Self::Output { plugin, options, .. } => {
                let own = options.iter().flat_map(|(name, value)| [name.as_str(), value.as_str()]);
                own.chain([plugin.as_str()]).collect()
            }
        }
    }

    fn fluent_bit(&self, text: &mut String) {
        let mut line = |line: std::fmt::Arguments<'_>| {
            // Writing into a text can't fail.
            let _ = writeln!(text, "{line}");
        };
        line(format_args!(""));
        match self {
            Self::Input { plugin, tag, options } => {
                line(format_args!("[INPUT]"));
                line(format_args!("    Name {plugin}"));
                if let Some(tag) = tag {
                    line(format_args!("    Tag {tag}"));
                }
                for (name, value) in options {
                    line(format_args!("    {name} {value}"));
                }
            }
            Self::Grep { tag, pattern, is_kept } => {
                line(format_args!("[FILTER]"));
                line(format_args!("    Name   grep"));
                line(format_args!("    Match {tag}"));
                match is_kept {
                    true => line(format_args!("    Regex  log {pattern}")),
                    false => line(format_args!("    Exclude log {pattern}")),
                }
            }
            Self::Record(members) => {
                line(format_args!("[FILTER]"));
                line(format_args!("    Name record_modifier"));
                line(format_args!("    Match *"));
                for (name, value) in members {
                    line(format_args!("    Record {name} {value}"));
                }
            }
            Self::Include(file) => line(format_args!("@INCLUDE {file}")),
            Self::Output { plugin, tag, options } => {
                line(format_args!("[OUTPUT]"));
                line(format_args!("    Name {plugin}"));
                line(format_args!("    Match {tag}"));
                for (name, value) in options {
                    line(format_args!("    {name} {value}"));
                }
            }
        }
    }

    fn fluentd(&self, text: &mut String) {
        let mut line = |line: std::fmt::Arguments<'_>| {
            let _ = writeln!(text, "{line}");
        };
        line(format_args!(""));
        match self {
            Self::Input { plugin, options, .. } => {
                line(format_args!("<source>"));
                line(format_args!("    @type {plugin}"));
                for (name, value) in options {
                    line(format_args!("    {name} {value}"));
                }
                line(format_args!("</source>"));
            }
            Self::Grep { tag, pattern, is_kept } => {
                let kind = if *is_kept { "regexp" } else { "exclude" };
                line(format_args!("<filter {tag}>"));
                line(format_args!("    @type  grep"));
                line(format_args!("    <{kind}>"));
                line(format_args!("        key log"));
                line(format_args!("        pattern {pattern}"));
                line(format_args!("    </{kind}>"));
                line(format_args!("</filter>"));
            }
            Self::Record(members) => {
                line(format_args!("<filter **>"));
                line(format_args!("    @type record_transformer"));
                line(format_args!("    <record>"));
                for (name, value) in members {
                    line(format_args!("        {name} {value}"));
                }
                line(format_args!("    </record>"));
                line(format_args!("</filter>"));
            }
            Self::Include(file) => line(format_args!("@include {file}")),
            Self::Output { plugin, tag, options } => {
                line(format_args!("<match {tag}>"));
                line(format_args!("    @type {plugin}"));
                for (name, value) in options {
                    line(format_args!("    {name} {value}"));
                }
                line(format_args!("</match>"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::{Container, LogConfig, fixtures};

    fn options(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn task(network: Network, log: &[(&str, &str)]) -> Task {
        let driver = "awsfirelens".to_owned();
        let log = LogConfig { driver, options: options(log) };
        let app = Container { log, ..fixtures::container("app") };
        let router = fixtures::container("log_router");
        Task { network, ..fixtures::task(vec![router, app]) }
    }

    fn router(kind: RouterKind, pairs: &[(&str, &str)]) -> Router {
        Router { kind, options: options(pairs) }
    }

    const LOG: [(&str, &str); 5] = [
        ("region", "us-west-2"),
        ("delivery_stream", "my-stream"),
        ("include-pattern", "failure"),
        ("exclude-pattern", "success"),
        ("log-driver-buffer-limit", "2097152"),
    ];

    fn check(name: &str, text: &str, task: &Task) {
        let text = text.replace(&task.arn, "TASK-ARN");
        let path = format!("{}/tests/golden/firelens/{name}", env!("CARGO_MANIFEST_DIR"));
        if std::env::var_os("UPDATE_EXPECT").is_some() {
            std::fs::write(&path, &text).unwrap();
        }
        assert_eq!(text, std::fs::read_to_string(&path).unwrap(), "{path}");
    }

    #[test]
    fn the_files_are_those_of_amazons_agent() {
        let name = |plugin, key| [&LOG[..], &[(key, plugin)]].concat();
        let bit = task(Network::Bridge, &name("kinesis_firehose", "Name"));
        let plain = router(RouterKind::Fluentbit, &[]);
        check("fluent-bit-bridge.conf", &render(&bit, &plain, "shop").unwrap(), &bit);
        let file = [
            ("enable-ecs-log-metadata", "false"),
            ("config-file-type", "file"),
            ("config-file-value", "/extra.conf"),
        ];
        let host = task(Network::Host, &[("include-pattern", "x")]);
        let own = router(RouterKind::Fluentbit, &file);
        check("fluent-bit-host.conf", &render(&host, &own, "shop").unwrap(), &host);
        let fluentd = task(Network::Bridge, &name("kinesis_firehose", "@type"));
        let own = router(
            RouterKind::Fluentd,
            &[&file[1..], &[("enable-ecs-log-metadata", "true")]].concat(),
        );
        check("fluentd-bridge.conf", &render(&fluentd, &own, "shop").unwrap(), &fluentd);
    }

    #[test]
    fn secrets_are_placeholders_and_an_object_is_included() {
        let secret = |mut task: Task| {
            task.containers[1].log_secrets = vec![("apikey".to_owned(), "/key".to_owned())];
            task
        };
        let object = [("config-file-type", "s3"), ("config-file-value", "arn:aws:s3:::b/k.conf")];
        let bit = secret(task(Network::Bridge, &[("Name", "datadog")]));
        let text = render(&bit, &router(RouterKind::Fluentbit, &object), "shop").unwrap();
        assert!(text.contains("\n    apikey ${apikey_1}\n"), "{text}");
        assert!(text.contains("\n@INCLUDE /fluent-bit/etc/external.conf\n"), "{text}");
        let fluentd = secret(task(Network::Bridge, &[("@type", "datadog")]));
        let text = render(&fluentd, &router(RouterKind::Fluentd, &object), "shop").unwrap();
        assert!(text.contains("\n    apikey \"#{ENV['apikey_1']}\"\n"), "{text}");
        assert!(text.contains("\n@include /fluentd/etc/external.conf\n"), "{text}");
        for text in ["/key", "b/k.conf"] {
            assert!(
                !render(&bit, &router(RouterKind::Fluentbit, &object), "").unwrap().contains(text)
            );
        }
    }

    #[test]
    fn what_makes_no_file_is_told() {
        let error = |log: &[(&str, &str)]| {
            let task = task(Network::Bridge, log);
            render(&task, &router(RouterKind::Fluentbit, &[]), "shop").unwrap_err()
        };
        assert!(error(&[("region", "x")]).contains("missing output key Name"));
        let injected = error(&[("Name", "null\n[INPUT]\n    Name exec")]);
        assert!(injected.contains("must be one line"), "{injected}");
        assert!(error(&[("Name", "s3"), ("a\nb", "c")]).contains("must be one line"));
    }
}
