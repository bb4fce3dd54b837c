//! What a request claims: who signed it, when, for what scope, over which headers.
//!
//! Parsing is strict: one form of credentials, every part exactly once. Nothing here is trusted
//! before the signature has been compared.

use super::canonical::query_parameters;
use super::clock::AmzDate;
use super::error::Error;
use super::{CLOCK_WINDOW_MS, MAX_PRESIGNED_SECONDS, Request};
use sha2::{Digest, Sha256};
use wharf_model::Timestamp;

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
const TERMINATOR: &str = "aws4_request";
/// Query parameters that make a request a presigned one.
const QUERY_NAMES: [&str; 7] = [
    "X-Amz-Algorithm",
    "X-Amz-Credential",
    "X-Amz-Date",
    "X-Amz-Expires",
    "X-Amz-SignedHeaders",
    "X-Amz-Signature",
    "X-Amz-Security-Token",
];

/// Where the credentials stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// In the `Authorization` header.
    Header,
    /// In the query: a presigned request that holds for this many seconds.
    Query {
        /// `X-Amz-Expires`.
        expires_seconds: i64,
    },
}

/// The credential scope without its terminator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope {
    /// `YYYYMMDD`.
    pub day: String,
    /// Region.
    pub region: String,
    /// Service's signing name, such as `ecs`.
    pub service: String,
}

impl Scope {
    /// `day/region/service/aws4_request`.
    pub fn credential_scope(&self) -> String {
        format!("{}/{}/{}/{TERMINATOR}", self.day, self.region, self.service)
    }
}

/// The credentials of a request, not yet believed.
#[derive(Debug, Clone)]
pub struct Claim {
    /// Where they stand.
    pub form: Form,
    /// Access key id.
    pub access_key_id: String,
    /// Credential scope.
    pub scope: Scope,
    /// The request's time.
    pub date: AmzDate,
    /// Names of the signed headers, lower case, sorted, none twice.
    pub signed_headers: Vec<String>,
    /// The signature: 64 hexadecimal digits.
    pub signature: String,
    /// Session token of temporary credentials.
    pub session_token: Option<String>,
}

impl Claim {
    /// Reads the credentials of `request`.
    pub fn parse(request: &Request<'_>) -> Result<Self, Error> {
        let headers: Vec<&[u8]> = request.header_values("authorization").collect();
        let in_query = query_parameters(request.query).any(|(name, _)| {
            QUERY_NAMES.iter().any(|known| name.eq_ignore_ascii_case(known.as_bytes()))
        });
        match (headers.as_slice(), in_query) {
            ([], false) => Err(Error::Missing),
            ([one], false) => Self::from_header(request, one),
            ([], true) => Self::from_query(request),
            _ => Err(incomplete(
                "Only one authentication mechanism allowed: the request carries credentials more \
                 than once.",
            )),
        }
    }

    fn from_header(request: &Request<'_>, value: &[u8]) -> Result<Self, Error> {
        let text = std::str::from_utf8(value)
            .map_err(|_| incomplete("Authorization header is not valid text."))?;
        let Some((algorithm, rest)) = text.trim().split_once(' ') else {
            return Err(incomplete(format!(
                "Authorization header requires '{ALGORITHM}' and its parameters."
            )));
        };
        if algorithm != ALGORITHM {
            return Err(incomplete(format!("Unsupported AWS 'algorithm': '{algorithm}'.")));
        }
        let mut credential = None;
        let mut signed_headers = None;
        let mut signature = None;
        for pair in rest.split(',') {
            let pair = pair.trim();
            let Some((name, value)) = pair.split_once('=') else {
                return Err(incomplete(format!(
                    "'{pair}' not a valid key=value pair (missing equal-sign) in Authorization \
                     header."
                )));
            };
            let slot = match name {
                "Credential" => &mut credential,
                "SignedHeaders" => &mut signed_headers,
                "Signature" => &mut signature,
                _ => {
                    return Err(incomplete(format!(
                        "'{name}' is not a parameter of the Authorization header."
                    )));
                }
            };
            if slot.replace(value).is_some() {
                return Err(incomplete(format!("Authorization header has '{name}' twice.")));
            }
        }
        let mut missing = String::new();
        for (name, value) in [
            ("Credential", credential),
            ("Signature", signature),
            ("SignedHeaders", signed_headers),
        ] {
            if value.is_none() {
                missing.push_str(&format!("Authorization header requires '{name}' parameter. "));
            }
        }
        let date = header_date(request)?;
        if date.is_none() {
            missing.push_str(
                "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' \
                 header. ",
            );
        }
        let (Some(credential), Some(signed_headers), Some(signature), Some(date)) =
            (credential, signed_headers, signature, date)
        else {
            return Err(incomplete(missing.trim_end()));
        };
        let session_token = single_header(request, "x-amz-security-token")?;
        Self::assemble(Form::Header, credential, date, signed_headers, signature, session_token)
    }

    fn from_query(request: &Request<'_>) -> Result<Self, Error> {
        let mut found: [Option<String>; QUERY_NAMES.len()] = Default::default();
        for (name, value) in query_parameters(request.query) {
            let Some(at) = QUERY_NAMES.iter().position(|k| name.eq_ignore_ascii_case(k.as_bytes()))
            else {
                continue;
            };
            if name != QUERY_NAMES[at].as_bytes() {
                return Err(incomplete(format!(
                    "AWS query-string parameters are case-sensitive: '{}' is expected.",
                    QUERY_NAMES[at]
                )));
            }
            let value = String::from_utf8(value)
                .map_err(|_| incomplete(format!("'{}' is not valid text.", QUERY_NAMES[at])))?;
            if found[at].replace(value).is_some() {
                return Err(incomplete(format!("'{}' is given twice.", QUERY_NAMES[at])));
            }
        }
        let [algorithm, credential, date, expires, signed_headers, signature, session_token] =
            found;
        let need = |value: Option<String>, name: &str| {
            value.ok_or_else(|| {
                incomplete(format!("AWS query-string parameters must include '{name}'."))
            })
        };
        let algorithm = need(algorithm, "X-Amz-Algorithm")?;
        if algorithm != ALGORITHM {
            return Err(incomplete(format!("Unsupported AWS 'algorithm': '{algorithm}'.")));
        }
        let credential = need(credential, "X-Amz-Credential")?;
        let signature = need(signature, "X-Amz-Signature")?;
        let signed_headers = need(signed_headers, "X-Amz-SignedHeaders")?;
        let date = need(date, "X-Amz-Date")?;
        let date = AmzDate::parse(&date).ok_or_else(|| bad_date(&date))?;
        let expires = need(expires, "X-Amz-Expires")?;
        let expires_seconds = parse_expires(&expires)?;
        if request.header_values("x-amz-security-token").next().is_some() {
            return Err(incomplete(
                "Only one authentication mechanism allowed: a presigned request carries its \
                 security token in the query.",
            ));
        }
        let form = Form::Query { expires_seconds };
        Self::assemble(form, &credential, date, &signed_headers, &signature, session_token)
    }

    fn assemble(
        form: Form,
        credential: &str,
        date: AmzDate,
        signed_headers: &str,
        signature: &str,
        session_token: Option<String>,
    ) -> Result<Self, Error> {
        let parts: Vec<&str> = credential.split('/').collect();
        let [access_key_id, day, region, service, terminator] = parts[..] else {
            return Err(incomplete(format!(
                "Credential must have exactly 5 slash-delimited elements, e.g. \
                 keyid/date/region/service/term, got '{credential}'"
            )));
        };
        if access_key_id.is_empty() {
            return Err(incomplete("Credential must name an access key id."));
        }
        if terminator != TERMINATOR {
            return Err(Error::Scope(format!(
                "Credential should be scoped with a valid terminator: '{TERMINATOR}', not \
                 '{terminator}'. "
            )));
        }
        let names: Vec<String> = signed_headers.split(';').map(str::to_owned).collect();
        let plain = |n: &String| {
            !n.is_empty() && n.bytes().all(|b| b.is_ascii_graphic() && !b.is_ascii_uppercase())
        };
        if !names.iter().all(plain) || !names.is_sorted_by(|a, b| a < b) {
            return Err(incomplete(
                "SignedHeaders must be lower-case header names, sorted, none twice.",
            ));
        }
        let lower_hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        if signature.len() != 64 || !signature.bytes().all(lower_hex) {
            return Err(Error::Mismatch);
        }
        Ok(Self {
            form,
            access_key_id: access_key_id.to_owned(),
            scope: Scope {
                day: day.to_owned(),
                region: region.to_owned(),
                service: service.to_owned(),
            },
            date,
            signed_headers: names,
            signature: signature.to_owned(),
            session_token,
        })
    }

    /// `host`, every `x-amz-*` and `content-type` that was sent must be signed, and every signed
    /// header must have been sent.
    pub fn check_signed_headers(&self, request: &Request<'_>) -> Result<(), Error> {
        let signed = |name: &str| self.signed_headers.iter().any(|n| n == name);
        let mut unsigned: Vec<&str> = request
            .headers
            .iter()
            .map(|(name, _)| *name)
            .filter(|n| n.starts_with("x-amz-") || *n == "content-type" || *n == "host")
            .filter(|n| !signed(n))
            .collect();
        if request.header_values("host").count() != 1 {
            return Err(incomplete("Exactly one 'Host' header is required."));
        }
        unsigned.sort_unstable();
        unsigned.dedup();
        if !unsigned.is_empty() {
            return Err(Error::Payload(format!(
                "There were headers present in the request which were not signed: {}",
                unsigned.join(", ")
            )));
        }
        if let Some(absent) =
            self.signed_headers.iter().find(|n| request.header_values(n).next().is_none())
        {
            return Err(Error::Payload(format!(
                "The signed header '{absent}' is not present in the request."
            )));
        }
        Ok(())
    }

    /// The body must be covered by its hash: a declared hash must be the body's, and the words
    /// that stand for an unsigned or a streamed body are refused.
    pub fn check_payload(&self, request: &Request<'_>) -> Result<(), Error> {
        let Some(declared) = single_header(request, "x-amz-content-sha256")? else {
            return Ok(());
        };
        if declared == "UNSIGNED-PAYLOAD" || declared.starts_with("STREAMING-") {
            return Err(Error::Payload(format!(
                "The payload must be signed: X-Amz-Content-SHA256 '{declared}' is not accepted by \
                 this service."
            )));
        }
        if declared != hex::encode(Sha256::digest(request.body)) {
            return Err(Error::Payload(
                "The provided 'x-amz-content-sha256' header does not match what was computed."
                    .to_owned(),
            ));
        }
        Ok(())
    }

    /// The scope's day is the request's, its region this server's.
    pub fn check_scope(&self, region: &str) -> Result<(), Error> {
        if self.scope.day != self.date.day() {
            return Err(Error::Scope(format!(
                "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date \
                 from HTTP: '{}' != '{}', from '{}'.",
                self.scope.day,
                self.date.day(),
                self.date.as_str()
            )));
        }
        // Services of the whole partition are signed for in its first region.
        let is_global = matches!(self.scope.service.as_str(), "iam" | "sts");
        if self.scope.region != region && !(is_global && self.scope.region == GLOBAL_REGION) {
            return Err(Error::Scope(format!(
                "Credential should be scoped to a valid region: this endpoint serves '{region}'. "
            )));
        }
        Ok(())
    }

    /// The request's time lies within the window around `now`; a presigned one hasn't ended.
    pub fn check_time(&self, now: Timestamp) -> Result<(), Error> {
        let signed = self.date.timestamp().as_millis();
        let text = |ms: i64| AmzDate::at(Timestamp(ms)).as_str().to_owned();
        if signed > now.as_millis().saturating_add(CLOCK_WINDOW_MS) {
            return Err(Error::NotYetCurrent {
                signed: self.date.as_str().to_owned(),
                limit: text(now.as_millis() + CLOCK_WINDOW_MS),
                now: text(now.as_millis()),
            });
        }
        let (life_ms, allowance) = match self.form {
            Form::Header => (CLOCK_WINDOW_MS, "5 min.".to_owned()),
            Form::Query { expires_seconds } => {
                (expires_seconds * 1000, format!("{expires_seconds} s"))
            }
        };
        let limit = now.as_millis().saturating_sub(life_ms);
        if signed < limit {
            return Err(Error::Expired {
                signed: self.date.as_str().to_owned(),
                limit: text(limit),
                now: text(now.as_millis()),
                allowance,
            });
        }
        Ok(())
    }
}

/// Where services are signed for that have no region.
const GLOBAL_REGION: &str = "us-east-1";

fn incomplete(text: impl Into<String>) -> Error {
    Error::Incomplete(text.into())
}

fn bad_date(text: &str) -> Error {
    incomplete(format!(
        "Date must be in ISO-8601 'basic format'. Got '{text}'. See \
         http://en.wikipedia.org/wiki/ISO_8601"
    ))
}

fn parse_expires(text: &str) -> Result<i64, Error> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let seconds: Option<i64> = digits.then(|| text.parse().ok()).flatten();
    match seconds {
        Some(s) if (1..=MAX_PRESIGNED_SECONDS).contains(&s) => Ok(s),
        Some(0) => Err(incomplete("X-Amz-Expires must be at least one second.")),
        _ if digits => Err(incomplete(format!(
            "X-Amz-Expires must be less than a week (in seconds); ie. the given X-Amz-Expires must \
             be less than {MAX_PRESIGNED_SECONDS} seconds"
        ))),
        _ => Err(incomplete("X-Amz-Expires should be a number.")),
    }
}

/// The value of a header that may stand once at the most.
fn single_header(request: &Request<'_>, name: &str) -> Result<Option<String>, Error> {
    let mut values = request.header_values(name);
    let Some(first) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(incomplete(format!("The header '{name}' is given twice.")));
    }
    let text = std::str::from_utf8(first)
        .map_err(|_| incomplete(format!("The header '{name}' is not valid text.")))?;
    Ok(Some(text.trim().to_owned()))
}

fn header_date(request: &Request<'_>) -> Result<Option<AmzDate>, Error> {
    if let Some(text) = single_header(request, "x-amz-date")? {
        return AmzDate::parse(&text).map(Some).ok_or_else(|| bad_date(&text));
    }
    let Some(text) = single_header(request, "date")? else { return Ok(None) };
    AmzDate::parse_http_date(&text).map(Some).ok_or_else(|| bad_date(&text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_without_a_region_are_signed_for_in_the_first() {
        let good = |service: &str, region: &str| {
            let (service, region) = (service.to_owned(), region.to_owned());
            let claim = Claim {
                form: Form::Header,
                access_key_id: "AKIA".to_owned(),
                scope: Scope { day: "20261127".to_owned(), region, service },
                date: AmzDate::parse("20261127T000000Z").unwrap(),
                signed_headers: Vec::new(),
                signature: String::new(),
                session_token: None,
            };
            claim.check_scope("eu-central-1").is_ok()
        };
        assert!(good("ecs", "eu-central-1") && good("iam", "eu-central-1"));
        assert!(good("iam", "us-east-1") && good("sts", "us-east-1"));
        assert!(!good("ecs", "us-east-1") && !good("iam", "us-west-2"));
    }
}
