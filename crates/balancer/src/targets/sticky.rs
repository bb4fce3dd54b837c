//! The cookies by which a client stays with a target or a target group.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;
use http::HeaderMap;
use http::header::COOKIE;
use ring::hmac;
use std::time::Duration;

/// The load balancer's cookies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Which target, for a duration.
    Target,
    /// Which target group.
    Group,
    /// Which target, beside the application's own cookie.
    Application,
}

impl Kind {
    /// Names of its cookies: the one that is sent within a site, and the one for other sites.
    pub const fn names(self) -> (&'static str, Option<&'static str>) {
        match self {
            Self::Target => ("AWSALB", Some("AWSALBCORS")),
            Self::Group => ("AWSALBTG", Some("AWSALBTGCORS")),
            Self::Application => ("AWSALBAPP-0", None),
        }
    }
}

/// Bytes of a target's mark.
const MARK: usize = 16;
/// Bytes of the signature.
const TAG: usize = 16;
/// For how long browsers keep the cookies, whatever the duration of the stickiness.
const COOKIE_LIFETIME: Duration = Duration::from_secs(7 * 24 * 3600);

/// Makes and reads the values of cookies. They name nothing to those who don't have the key.
#[derive(Clone)]
pub struct Stamp(hmac::Key);

impl Stamp {
    /// With a secret of this balancer.
    pub fn new(secret: &[u8]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, secret))
    }

    /// The mark of a target or a group.
    pub fn mark(&self, name: &str) -> [u8; MARK] {
        let mut mark = [0; MARK];
        mark.copy_from_slice(&hmac::sign(&self.0, name.as_bytes()).as_ref()[..MARK]);
        mark
    }

    /// A cookie's value: the mark, until when it holds (in seconds), and a signature of both.
    pub fn write(&self, mark: &[u8; MARK], until: u64) -> String {
        let mut bytes = Vec::with_capacity(MARK + 8 + TAG);
        bytes.extend_from_slice(mark);
        bytes.extend_from_slice(&until.to_be_bytes());
        let tag = hmac::sign(&self.0, &bytes);
        bytes.extend_from_slice(&tag.as_ref()[..TAG]);
        BASE64.encode(bytes)
    }

    /// The mark in a cookie's value, if it is one of ours and still holds.
    pub fn read(&self, value: &str, now: u64) -> Option<[u8; MARK]> {
        let bytes = BASE64.decode(value).ok()?;
        let (mark, rest) = bytes.split_first_chunk::<MARK>()?;
        let (until, tag) = rest.split_first_chunk::<8>()?;
        let signed = hmac::sign(&self.0, &bytes[..MARK + 8]);
        let fits = tag == &signed.as_ref()[..TAG];
        (fits && u64::from_be_bytes(*until) > now).then_some(*mark)
    }
}

/// The value of a cookie of a request.
pub fn cookie_value<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get_all(COOKIE).iter().filter_map(|header| header.to_str().ok()).find_map(|header| {
        header.split(';').find_map(|pair| {
            let (key, value) = pair.split_once('=')?;
            (key.trim() == name).then(|| value.trim())
        })
    })
}

/// The Set-Cookie headers of a value. `now` is in seconds.
pub fn set_cookies(kind: Kind, value: &str, now: u64) -> Vec<String> {
    let expires = i64::try_from(now + COOKIE_LIFETIME.as_secs())
        .ok()
        .and_then(|at| jiff::Timestamp::from_second(at).ok())
        .map(|at| at.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string())
        .unwrap_or_default();
    let (name, other_sites) = kind.names();
    let mut cookies = vec![format!("{name}={value}; Expires={expires}; Path=/")];
    cookies.extend(
        other_sites.map(|name| {
            format!("{name}={value}; Expires={expires}; Path=/; SameSite=None; Secure")
        }),
    );
    cookies
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_holds_until_it_ends_and_cannot_be_made_up() {
        let stamp = Stamp::new(b"secret");
        let mark = stamp.mark("group/10.0.0.1/80");
        let value = stamp.write(&mark, 100);
        assert_eq!(stamp.read(&value, 99), Some(mark));
        assert_eq!(stamp.read(&value, 100), None);
        assert_eq!(Stamp::new(b"other").read(&value, 99), None);
        for broken in ["", "x", "AAAA", &value[1..]] {
            assert_eq!(stamp.read(broken, 0), None);
        }
    }

    #[test]
    fn cookies_are_found_and_made() {
        let mut headers = HeaderMap::new();
        headers.append(COOKIE, "a=b; AWSALB=one".parse().unwrap());
        headers.append(COOKIE, "AWSALBCORS=two".parse().unwrap());
        assert_eq!(cookie_value(&headers, "AWSALB"), Some("one"));
        assert_eq!(cookie_value(&headers, "AWSALBCORS"), Some("two"));
        assert_eq!(cookie_value(&headers, "AWSALBTG"), None);
        assert_eq!(
            set_cookies(Kind::Target, "v", 0),
            [
                "AWSALB=v; Expires=Thu, 08 Jan 1970 00:00:00 GMT; Path=/",
                "AWSALBCORS=v; Expires=Thu, 08 Jan 1970 00:00:00 GMT; Path=/; SameSite=None; Secure",
            ]
        );
    }
}
