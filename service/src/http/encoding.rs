//! `Accept-Encoding`: chooses the encoding of a file that a client accepts. Must not depend on
//! files.

use axum::http::{HeaderMap, header};

/// The encodings of a file, from the smallest to the plain one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    Brotli,
    Gzip,
    Identity,
}

impl Encoding {
    /// The value of `Content-Encoding`; none for a plain file.
    pub(super) fn name(self) -> Option<&'static str> {
        match self {
            Self::Brotli => Some("br"),
            Self::Gzip => Some("gzip"),
            Self::Identity => None,
        }
    }

    /// The encoding of `available` that the client prefers, the first of equally preferred ones;
    /// the plain file if it accepts none.
    pub(super) fn choose(headers: &HeaderMap, available: impl IntoIterator<Item = Self>) -> Self {
        let mut best = (0, Self::Identity);
        for encoding in available {
            let liking = liking(headers, encoding);
            if liking > best.0 {
                best = (liking, encoding);
            }
        }
        best.1
    }
}

/// How much the client wants it, in thousandths: RFC 9110, section 12.5.3.
fn liking(headers: &HeaderMap, encoding: Encoding) -> u16 {
    let names: &[&str] = match encoding {
        Encoding::Brotli => &["br"],
        Encoding::Gzip => &["gzip", "x-gzip"],
        Encoding::Identity => &["identity"],
    };
    let lines = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|line| line.to_str().ok());
    let (mut named, mut others) = (None, None);
    for choice in lines.flat_map(|line| line.split(',')) {
        let mut parts = choice.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default();
        let quality = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
        let quality = quality.map_or(Some(1000), thousandths).unwrap_or_default();
        if names.iter().any(|known| name.eq_ignore_ascii_case(known)) {
            named = Some(quality);
        } else if name == "*" {
            others = Some(quality);
        }
    }
    // The plain file is accepted unless the client says otherwise, but preferred only if the client
    // says so.
    let unsaid = if encoding == Encoding::Identity { 1 } else { 0 };
    named.or(others).unwrap_or(unsaid)
}

/// A number from 0 to 1 with at most three digits after its point.
fn thousandths(text: &str) -> Option<u16> {
    let (whole, rest) = text.split_once('.').unwrap_or((text, ""));
    if !matches!(whole, "0" | "1") || rest.len() > 3 || !rest.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    format!("{whole}{rest:0<3}").parse().ok().filter(|thousandths| *thousandths <= 1000)
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::{Encoding::*, *};

    fn chosen(lines: &[&str], available: &[Encoding]) -> Encoding {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(header::ACCEPT_ENCODING, HeaderValue::from_str(line).unwrap());
        }
        Encoding::choose(&headers, available.iter().copied())
    }

    #[test]
    fn the_client_gets_what_it_likes_best() {
        let all = &[Brotli, Gzip, Identity][..];
        for (lines, available, expected) in [
            (&["gzip, deflate, br, zstd"][..], all, Brotli),
            (&["gzip, deflate"], all, Gzip),
            (&["x-gzip"], all, Gzip),
            (&["GZIP;Q=0.5"], all, Gzip),
            (&["gzip", "br"], all, Brotli),
            (&["br"], &[Gzip, Identity], Identity),
            (&["br;q=0.5, gzip"], all, Gzip),
            (&["br;q=0.5,gzip;q=0.5"], all, Brotli),
            (&["br ; q=0.501 , gzip;q=0.5"], all, Brotli),
            (&["br;q=0, gzip;q=0.000"], all, Identity),
            (&["*"], all, Brotli),
            (&["*;q=0.1, br;q=0"], all, Gzip),
            (&["identity, gzip;q=0.5"], all, Identity),
            (&["identity;q=0"], all, Identity),
            (&["*;q=0"], all, Identity),
            (&["br;q=1.001, gzip;q=0.3"], all, Gzip),
            (&["br;q=, gzip;q=0.3"], all, Gzip),
            (&["br;q=0.1234, gzip;q=0.3"], all, Gzip),
            (&["brr, gzi", ";;,,", "=;q"], all, Identity),
            (&[], all, Identity),
            (&[""], all, Identity),
        ] {
            assert_eq!(chosen(lines, available), expected, "{lines:?}");
        }
    }

    #[test]
    fn the_longest_head_is_read_in_one_go() {
        assert_eq!(chosen(&[&"br;q=0.1,".repeat(1 << 11)], &[Brotli, Identity]), Brotli);
    }
}
