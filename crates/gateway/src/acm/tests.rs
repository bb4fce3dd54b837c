//! Operations of Certificate Manager against a small world, with certificates made for the test.

use super::{describe, import, renewal, request, tags};
use crate::ecs::world::{START, World};
use crate::outside::IssuedCertificate;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use serde_json::{Value, json};
use std::time::Duration;
use wharf_model::load_balancing::{Certificate, Listener, LoadBalancer};
use wharf_wire::acm::operation as op;

macro_rules! call {
    ($world:expr, $name:ident, $function:path, $($request:tt)+) => {
        $world.call::<op::$name>($function, &json!($($request)+))
    };
}

/// A certificate for these names with its key, both in PEM.
fn certificate(names: &[&str], until: i32) -> (String, String) {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(until, 1, 1));
    let key = KeyPair::generate().unwrap();
    (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
}

fn sent((certificate, key): &(String, String)) -> Value {
    json!({"Certificate": STANDARD.encode(certificate), "PrivateKey": STANDARD.encode(key)})
}

#[test]
fn an_imported_certificates_life() {
    let mut world = World::new();
    let made = certificate(&["a.example", "*.b.example"], 2090);
    let arn = call!(world, ImportCertificate, import::import, sent(&made)).unwrap();
    let of = json!({"CertificateArn": arn["CertificateArn"]});
    let shown = call!(world, DescribeCertificate, describe::describe, of).unwrap();
    let shown = &shown["Certificate"];
    assert_eq!(shown["SubjectAlternativeNames"], json!(["a.example", "*.b.example"]));
    assert_eq!((&shown["Status"], &shown["Type"]), (&json!("ISSUED"), &json!("IMPORTED")));
    assert_eq!(shown["KeyAlgorithm"], "EC_prime256v1");
    let text = call!(world, GetCertificate, describe::get, of).unwrap();
    let plain = |text: &str| text.replace(['\r', '\n'], "");
    assert_eq!(plain(text["Certificate"].as_str().unwrap()), plain(&made.0));
    let id = arn["CertificateArn"].as_str().unwrap().rsplit('/').next().unwrap().to_owned();
    let record = world.snapshot.certificate(&id).unwrap();
    assert!(!format!("{record:?}").contains("PRIVATE KEY"));
    let name = arn["CertificateArn"].as_str().unwrap();
    let opened = world.vault.open(name, &record.private_key).unwrap();
    assert_eq!(opened.as_slice(), made.1.as_bytes());

    let mut again = sent(&certificate(&["c.example"], 2090));
    again["CertificateArn"] = arn["CertificateArn"].clone();
    call!(world, ImportCertificate, import::import, again).unwrap();
    let shown = call!(world, ListCertificates, describe::list, {}).unwrap();
    let list = shown["CertificateSummaryList"].as_array().unwrap();
    assert_eq!((list.len(), &list[0]["InUse"]), (1, &json!(false)));
    let mut tag = of.clone();
    tag["Tags"] = json!([{"Key": "team", "Value": "a"}]);
    call!(world, AddTagsToCertificate, tags::add, tag).unwrap();
    let shown = call!(world, ListTagsForCertificate, tags::list, of).unwrap();
    assert_eq!(shown["Tags"], tag["Tags"]);
    call!(world, DeleteCertificate, describe::delete, of).unwrap();
    let gone = call!(world, DescribeCertificate, describe::describe, of).unwrap_err();
    assert!(gone.starts_with("ResourceNotFoundException: Could not find certificate"), "{gone}");
}

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A record that only tests write, from JSON.
fn record<T: serde::de::DeserializeOwned>(json: Value) -> T {
    serde_json::from_value(json).unwrap()
}

#[test]
fn what_a_load_balancer_serves_is_renewed_before_it_ends() {
    let mut world = World::new();
    let in_days = |days: u32| START.plus(DAY * days);
    let issued = |until| {
        let (chain, key) = certificate(&["a.example"], until);
        IssuedCertificate { chain, private_key: key.into() }
    };
    let put = |world: &mut World, id: &str, imported: bool, days: u32| {
        world.put(Certificate {
            id: id.into(),
            domain_name: "a.example".into(),
            names: vec!["a.example".into()],
            chain: issued(2026).chain,
            private_key: wharf_model::Sealed::new("sealed".to_owned()),
            imported,
            created_at: world.now,
            not_before: world.now,
            not_after: in_days(days),
            renewed_at: None,
            tags: Vec::new(),
        });
    };
    for (id, imported, days) in
        [("soon", false, 59), ("later", false, 61), ("imported", true, 1), ("unused", false, 1)]
    {
        put(&mut world, id, imported, days);
    }
    let arn = |id: &str| format!("arn:aws:acm:us-east-1:123456789012:certificate/{id}");
    world.put(record::<LoadBalancer>(json!({
        "kind": "application", "name": "web", "id": "1", "scheme": "internal", "dns_name": "web",
        "created_at": 0, "vpc_id": "vpc-1", "subnets": [], "security_groups": [],
        "ip_address_type": "ipv4", "host_address": "127.80.0.9", "attributes": {}, "tags": [],
    })));
    world.put(record::<Listener>(json!({
        "load_balancer": "app/web/1", "id": "2", "port": 443, "protocol": "HTTPS",
        "certificates": [arn("soon"), arn("later"), arn("imported")],
        "default_actions": [], "attributes": {}, "tags": [],
    })));
    let due = |world: &World| renewal::due(&world.snapshot, &world.arns, world.now);
    assert_eq!(due(&world), ["soon"]);
    let eligibility = |world: &mut World, id: &str| {
        let of = json!({"CertificateArn": arn(id)});
        let shown = call!(world, DescribeCertificate, describe::describe, of).unwrap();
        shown["Certificate"]["RenewalEligibility"].clone()
    };
    assert_eq!(eligibility(&mut world, "later"), "ELIGIBLE");
    assert_eq!(eligibility(&mut world, "unused"), "INELIGIBLE");
    assert_eq!(eligibility(&mut world, "imported"), "INELIGIBLE");

    let new = issued(2090);
    let renew = |world: &World, id: &str| {
        let of = (id, &new);
        renewal::renewed(&world.snapshot, &world.arns, &world.vault, of, world.now).unwrap()
    };
    assert!(renew(&world, "later").is_empty() && renew(&world, "gone").is_empty());
    let transaction = renew(&world, "soon");
    world.commit(&transaction);
    assert!(due(&world).is_empty());
    let record = world.snapshot.certificate(&"soon".to_owned()).unwrap();
    assert_eq!(record.chain, new.chain);
    let opened = world.vault.open(&arn("soon"), &record.private_key).unwrap();
    assert_eq!(opened.as_slice(), new.private_key.as_bytes());
    let of = json!({"CertificateArn": arn("soon")});
    let shown = call!(world, DescribeCertificate, describe::describe, of).unwrap();
    assert_eq!(shown["Certificate"]["RenewalSummary"]["RenewalStatus"], "SUCCESS");
}

#[test]
fn what_cant_be_imported() {
    let mut world = World::new();
    let (good, other) = (certificate(&["a.example"], 2090), certificate(&["b.example"], 2090));
    for (pair, expected) in [
        ((good.0.clone(), other.1), "The private key does not correspond"),
        ((good.0.clone(), "x".to_owned()), "The private key is not in a valid PEM format"),
        (("x".to_owned(), good.1.clone()), "The certificate is not in a valid PEM format."),
        ((format!("{}{}", good.0, other.0), good.1.clone()), "The certificate field contains more"),
        (certificate(&["a.example"], 2021), "The certificate has expired."),
    ] {
        let refused = call!(world, ImportCertificate, import::import, sent(&pair)).unwrap_err();
        assert!(refused.starts_with(&format!("ValidationException: {expected}")), "{refused}");
    }
    assert_eq!(world.snapshot.certificates().count(), 0);
}

#[test]
fn names_of_a_request() {
    for (name, is_one) in [
        ("a.example", true),
        ("*.a.example", true),
        ("localhost", true),
        ("", false),
        ("a..b", false),
        ("-a.example", false),
        ("a.*.example", false),
    ] {
        assert_eq!(request::is_domain(name), is_one, "{name}");
    }
    let (chain, key) = certificate(&["a.example"], 2090);
    let issued = IssuedCertificate { chain, private_key: key.into() };
    assert!(super::parse::certificates(&issued.chain, "certificate").is_ok());
}
