//! What the balancer reads of clients and of rules.

use http::HeaderMap;
use wharf_balancer::head::{self, BodyReader, Class, Mitigation};
use wharf_balancer::rules::{Request, RuleTable};
use wharf_model::load_balancing::{Condition, Listener, Protocol, Rule, Transform};

/// A raw request: what passes is read in one way, however its bytes come, and passes again as the
/// same once it is rewritten.
pub fn request_head(data: &[u8]) {
    let Some(end) = head::end(data, 0) else { return };
    let (raw, rest) = data.split_at(end);
    for from in 0..end {
        assert_eq!(head::end(data, from).map(|found| found >= end), Some(true));
    }
    let monitored = head::examine(raw, Mitigation::Monitor);
    let strict = head::examine(raw, Mitigation::Strictest);
    assert!(strict.status.is_some() || strict.class == Class::Compliant);
    if monitored.status.is_some() {
        assert!(strict.status.is_some() && monitored.close);
        return;
    }
    if let Some(rewritten) = &monitored.rewritten {
        let again = head::examine(rewritten, Mitigation::Monitor);
        assert_eq!((again.status, again.framing), (None, monitored.framing));
        assert_eq!(again.rewritten, None);
    }
    let whole = {
        let (mut reader, mut size) = (BodyReader::new(monitored.framing), 0);
        reader.take(rest, &mut size).map(|taken| (taken, size, reader.is_done()))
    };
    let (mut reader, mut size, mut taken) = (BodyReader::new(monitored.framing), 0, 0);
    for byte in rest {
        match reader.take(std::slice::from_ref(byte), &mut size) {
            Ok(more) => taken += more,
            Err(error) => return assert_eq!(whole, Err(error)),
        }
    }
    assert_eq!(whole, Ok((taken, size, reader.is_done())));
}

/// Conditions and transforms in JSON behind a line with a host and one with a path: whatever they
/// are, they compile, and a request is told by them in the same way twice.
pub fn listener_rules(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let mut parts = text.splitn(3, '\n');
    let (Some(host), Some(target), Some(json)) = (parts.next(), parts.next(), parts.next()) else {
        return;
    };
    let Ok((conditions, transforms)) =
        serde_json::from_str::<(Vec<Condition>, Vec<Transform>)>(json)
    else {
        return;
    };
    let listener = Listener {
        load_balancer: "app/a/1".into(),
        id: "1".into(),
        port: 80,
        protocol: Protocol::Http,
        ssl_policy: None,
        certificates: Vec::new(),
        alpn_policy: None,
        mutual_authentication: None,
        default_actions: Vec::new(),
        attributes: std::collections::BTreeMap::new(),
        tags: Vec::new(),
    };
    let rule = Rule {
        listener: listener.path(),
        id: "1".into(),
        priority: 1,
        conditions,
        actions: Vec::new(),
        transforms,
        tags: Vec::new(),
    };
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let headers = HeaderMap::new();
    let source = [10, 0, 0, 1].into();
    let request = Request {
        host,
        path,
        query,
        method: "GET",
        headers: &headers,
        source,
        port: 80,
        tls: false,
    };
    let table = RuleTable::new(&listener, [&rule].into_iter(), &mut |path| path.to_owned());
    let found = table.find(&request);
    assert_eq!(found.priority, table.find(&request).priority);
    let rewritten = (found.rewrites.host(host), found.rewrites.url(target));
    assert_eq!(rewritten, (found.rewrites.host(host), found.rewrites.url(target)));
    table.claims_host(host);
}
