//! Where a redirect leads: its placeholders filled in.

use super::Request;
use wharf_model::load_balancing::Redirect;

/// The Location of a redirect.
pub fn location(redirect: &Redirect, request: &Request<'_>) -> String {
    let protocol = if request.tls { "https" } else { "http" };
    let port = request.port.to_string();
    let fill = |text: &str| {
        text.replace("#{protocol}", protocol)
            .replace("#{host}", request.host)
            .replace("#{port}", &port)
            .replace("#{path}", request.path.trim_start_matches('/'))
            .replace("#{query}", request.query)
    };
    let scheme = fill(&redirect.protocol).to_ascii_lowercase();
    let host = fill(&redirect.host);
    let host =
        if host.contains(':') && !host.starts_with('[') { format!("[{host}]") } else { host };
    let port = fill(&redirect.port);
    let path = fill(&redirect.path);
    let slash = if path.starts_with('/') { "" } else { "/" };
    let query = fill(&redirect.query);
    let mark = if query.is_empty() { "" } else { "?" };
    format!("{scheme}://{host}:{port}{slash}{path}{mark}{query}")
}

/// Whether a redirect leads back to the very request, as a client would see it.
pub fn leads_nowhere(location: &str) -> bool {
    location.parse::<http::Uri>().map_or(true, |uri| uri.authority().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderMap;

    fn check(path: &str, query: &str, redirect: &[&str; 5]) -> String {
        let headers = HeaderMap::new();
        let request = Request {
            host: "shop.example",
            path,
            query,
            method: "GET",
            headers: &headers,
            source: [10, 0, 0, 1].into(),
            port: 80,
            tls: false,
        };
        let [protocol, host, port, path, query] = redirect.map(str::to_owned);
        location(&Redirect { protocol, host, port, path, query, status: 301 }, &request)
    }

    #[test]
    fn placeholders_are_filled_in() {
        let https = ["HTTPS", "#{host}", "443", "/#{path}", "#{query}"];
        assert_eq!(check("/a/b", "x=1", &https), "https://shop.example:443/a/b?x=1");
        assert_eq!(check("/", "", &https), "https://shop.example:443/");
        let moved =
            ["#{protocol}", "new.#{host}", "#{port}", "/v2/#{path}", "from=#{host}&#{query}"];
        assert_eq!(check("/a", "q", &moved), "http://new.shop.example:80/v2/a?from=shop.example&q");
    }
}
