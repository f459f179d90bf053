//! Browser and system of a User-Agent header, in words for people. Nothing may be decided by them:
//! anybody can send any header. No versions, because browsers have stopped telling the truth about
//! them.

/// What a browser's header contains, and its name. The first one counts: most browsers also name
/// those that they descend from.
const BROWSERS: [(&str, &str); 14] = [
    ("Edg/", "Edge"),
    ("EdgA/", "Edge"),
    ("EdgiOS/", "Edge"),
    ("OPR/", "Opera"),
    ("OPT/", "Opera"),
    ("Vivaldi/", "Vivaldi"),
    ("YaBrowser/", "Yandex Browser"),
    ("SamsungBrowser/", "Samsung Internet"),
    ("FxiOS/", "Firefox"),
    ("Firefox/", "Firefox"),
    ("CriOS/", "Chrome"),
    ("Chromium/", "Chromium"),
    ("Chrome/", "Chrome"),
    ("Safari/", "Safari"),
];

/// The same of systems.
const SYSTEMS: [(&str, &str); 9] = [
    ("Windows", "Windows"),
    ("Android", "Android"),
    ("iPhone", "iOS"),
    ("iPad", "iPadOS"),
    ("CrOS", "ChromeOS"),
    ("Macintosh", "macOS"),
    ("FreeBSD", "FreeBSD"),
    ("OpenBSD", "OpenBSD"),
    ("Linux", "Linux"),
];

/// The browser's name; none if it is not among those that are known.
#[must_use]
pub fn browser(user_agent: &str) -> Option<&'static str> {
    first_of(&BROWSERS, user_agent)
}

/// The system's name; none if it is not among those that are known.
#[must_use]
pub fn system(user_agent: &str) -> Option<&'static str> {
    first_of(&SYSTEMS, user_agent)
}

fn first_of(names: &[(&str, &'static str)], user_agent: &str) -> Option<&'static str> {
    names.iter().find(|(mark, _)| user_agent.contains(mark)).map(|(_, name)| *name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_of_common_browsers_are_put_into_words() {
        let webkit = "AppleWebKit/537.36 (KHTML, like Gecko)";
        let (windows, linux) = ("Mozilla/5.0 (Windows NT 10.0; Win64; x64)", "Mozilla/5.0 (X11; Linux x86_64)");
        let (android, mac) = ("Mozilla/5.0 (Linux; Android 10; K)", "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7)");
        let iphone = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko)";
        let ipad = "Mozilla/5.0 (iPad; CPU OS 18_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko)";
        for (user_agent, words) in [
            (format!("{windows} {webkit} Chrome/140.0.0.0 Safari/537.36"), "Chrome on Windows"),
            (format!("{windows} {webkit} Chrome/140.0.0.0 Safari/537.36 Edg/140.0.0.0"), "Edge on Windows"),
            (format!("{windows} {webkit} Chrome/140.0.0.0 Safari/537.36 OPR/122.0.0.0"), "Opera on Windows"),
            (format!("{linux} {webkit} Chrome/140.0.0.0 Safari/537.36"), "Chrome on Linux"),
            (format!("{linux} {webkit} HeadlessChrome/140.0.0.0 Safari/537.36"), "Chrome on Linux"),
            (format!("{android} {webkit} Chrome/140.0.0.0 Mobile Safari/537.36"), "Chrome on Android"),
            (
                format!("{android} {webkit} SamsungBrowser/28.0 Chrome/130.0.0.0 Mobile Safari/537.36"),
                "Samsung Internet on Android",
            ),
            ("Mozilla/5.0 (Android 15; Mobile; rv:143.0) Gecko/143.0 Firefox/143.0".into(), "Firefox on Android"),
            (
                "Mozilla/5.0 (X11; Ubuntu; Linux x86_64; rv:143.0) Gecko/20100101 Firefox/143.0".into(),
                "Firefox on Linux",
            ),
            (format!("{mac} AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.6 Safari/605.1.15"), "Safari on macOS"),
            (format!("{iphone} Version/18.6 Mobile/15E148 Safari/604.1"), "Safari on iOS"),
            (format!("{iphone} CriOS/140.0.7339.101 Mobile/15E148 Safari/604.1"), "Chrome on iOS"),
            (format!("{iphone} FxiOS/143.0 Mobile/15E148 Safari/605.1.15"), "Firefox on iOS"),
            (format!("{ipad} Version/18.6 Mobile/15E148 Safari/604.1"), "Safari on iPadOS"),
            (
                "Mozilla/5.0 (X11; CrOS x86_64 14541.0.0) AppleWebKit/537.36 Chrome/140.0.0.0 Safari/537.36".into(),
                "Chrome on ChromeOS",
            ),
            ("curl/8.15.0".into(), "? on ?"),
            (String::new(), "? on ?"),
        ] {
            let found = [browser(&user_agent), system(&user_agent)].map(|name| name.unwrap_or("?"));
            assert_eq!(found.join(" on "), words, "{user_agent}");
        }
    }
}
