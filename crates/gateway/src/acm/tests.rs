//! Operations of Certificate Manager against a small world, with certificates made for the test.

use super::{describe, import, request, tags};
use crate::ecs::world::World;
use crate::outside::IssuedCertificate;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use serde_json::{Value, json};
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
