//! Parses where traces are sent. Must not know where that was given.

use url::Url;
use zeroize::Zeroizing;

use super::values::Problem;

/// The URL of a collector. One without a path gets that of the OTLP specification.
pub(super) fn collector(text: String) -> Result<Url, Problem> {
    let is_collector = |url: &Url| url.scheme() == "http" && url.username().is_empty() && url.password().is_none();
    // It may contain a password.
    let text = Zeroizing::new(text);
    let mut url = Url::parse(&text).ok().filter(is_collector).ok_or(Problem::Collector)?;
    if url.path() == "/" {
        url.set_path("/v1/traces");
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_collector_has_the_usual_path_unless_it_names_one() {
        let collector = |text: &str| collector(text.to_owned()).ok().map(|url| url.to_string());
        for (text, url) in [
            ("http://localhost:4318", Some("http://localhost:4318/v1/traces")),
            ("http://[::1]:4318/", Some("http://[::1]:4318/v1/traces")),
            ("http://collector/otlp/v1/traces", Some("http://collector/otlp/v1/traces")),
            ("https://collector", None),
            ("http://user:secret@collector", None),
            ("localhost:4318", None),
            ("", None),
        ] {
            assert_eq!(collector(text).as_deref(), url, "{text}");
        }
    }
}
