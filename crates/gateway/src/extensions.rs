//! Negotiates permessage-deflate (RFC 7692, section 7.1) in the handshake of a WebSocket. Must not
//! compress anything.

use axum::http::{HeaderMap, HeaderValue, header::SEC_WEBSOCKET_EXTENSIONS};

/// A header that does not follow its grammar, for which no WebSocket opens (RFC 6455, section 9.1).
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

/// An extension that a client offers.
struct Offer<'a> {
    name: &'a str,
    params: Vec<(&'a str, Option<String>)>,
}

/// The response to the first offer that can be accepted; none, if none can.
pub(crate) fn agree(headers: &HeaderMap) -> Result<Option<HeaderValue>, Malformed> {
    let mut response = None;
    for header in headers.get_all(SEC_WEBSOCKET_EXTENSIONS) {
        let text = header.to_str().map_err(|_| Malformed)?;
        // All are read: also what follows an offer that can be accepted must follow the grammar. An
        // element of a list may be empty.
        for text in text.split(',').map(trim).filter(|text| !text.is_empty()) {
            let offer = Offer::parse(text)?;
            response = response.or_else(|| accept(&offer));
        }
    }
    Ok(response)
}

/// The response to an offer, if it is one of permessage-deflate, is valid, and asks for nothing
/// that cannot be had here. Each message is compressed by itself in both directions, whatever the
/// client would like, so that nothing is kept for a connection between two messages.
fn accept(Offer { name, params }: &Offer<'_>) -> Option<HeaderValue> {
    let is_once = |name| params.iter().filter(|(other, _)| *other == name).count() == 1;
    let mut response = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";
    if *name != "permessage-deflate" {
        return None;
    }
    for (name, value) in params {
        match (*name, value.as_deref()) {
            _ if !is_once(*name) => return None,
            ("server_no_context_takeover" | "client_no_context_takeover" | "client_max_window_bits", None) => {}
            // What the client compresses with a smaller window can be read with the largest.
            ("client_max_window_bits", Some(bits)) if is_window(bits) => {}
            // Who accepts this has to say so. There is one size of compressors here.
            ("server_max_window_bits", Some("15")) => {
                response = "permessage-deflate; server_no_context_takeover; client_no_context_takeover; \
                            server_max_window_bits=15";
            }
            _ => return None,
        }
    }
    Some(HeaderValue::from_static(response))
}

/// True for the sizes that there are, as a decimal number without leading zeros.
fn is_window(bits: &str) -> bool {
    (8..=15_u8).any(|valid| bits == valid.to_string())
}

impl<'a> Offer<'a> {
    fn parse(text: &'a str) -> Result<Self, Malformed> {
        let mut parts = text.split(';').map(trim);
        let name = parts.next().and_then(token).ok_or(Malformed)?;
        let params = parts.map(|param| match param.split_once('=') {
            None => Ok((token(param).ok_or(Malformed)?, None)),
            Some((name, value)) => {
                Ok((token(trim(name)).ok_or(Malformed)?, Some(value_of(trim(value)).ok_or(Malformed)?)))
            }
        });
        Ok(Self { name, params: params.collect::<Result<_, _>>()? })
    }
}

/// The value of a parameter: a token, or one in quotes. (So no separator of lists is ever quoted.)
fn value_of(text: &str) -> Option<String> {
    let Some(quoted) = text.strip_prefix('"') else { return token(text).map(str::to_owned) };
    let mut characters = quoted.strip_suffix('"')?.chars();
    let mut value = String::new();
    while let Some(character) = characters.next() {
        value.push(if character == '\\' { characters.next()? } else { character });
    }
    token(&value).is_some().then_some(value)
}

fn token(text: &str) -> Option<&str> {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    Some(text).filter(|text| !text.is_empty() && text.bytes().all(is_token))
}

fn trim(text: &str) -> &str {
    text.trim_matches([' ', '\t'])
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACCEPTED: &str = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";

    fn answer(lines: &[&str]) -> Result<Option<String>, Malformed> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(SEC_WEBSOCKET_EXTENSIONS, HeaderValue::from_str(line).unwrap());
        }
        agree(&headers).map(|response| response.map(|value| value.to_str().unwrap().to_owned()))
    }

    #[test]
    fn offers_of_known_clients_are_accepted() {
        for offer in [
            // Chromium and Node, Firefox, Safari.
            "permessage-deflate; client_max_window_bits",
            "permessage-deflate",
            "x-webkit-deflate-frame, permessage-deflate",
            // gorilla/websocket.
            "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
            "permessage-deflate;client_max_window_bits=8",
            "\tpermessage-deflate ;\tclient_max_window_bits = \"1\\0\" ,, other; a=\"b\"",
        ] {
            assert_eq!(answer(&[offer]), Ok(Some(ACCEPTED.to_owned())), "{offer}");
        }
    }

    #[test]
    fn unacceptable_offers_are_declined_and_the_next_one_is_considered() {
        for offer in [
            "",
            " , ",
            "other",
            "Permessage-Deflate",
            "permessage-deflate; server_max_window_bits=14",
            // Parameters without a value, with an invalid one, or with one where none is allowed.
            "permessage-deflate; server_max_window_bits",
            "permessage-deflate; client_max_window_bits=7",
            "permessage-deflate; client_max_window_bits=16",
            "permessage-deflate; client_max_window_bits=010",
            "permessage-deflate; client_no_context_takeover=1",
            "permessage-deflate; server_no_context_takeover; server_no_context_takeover",
            "permessage-deflate; unknown",
        ] {
            assert_eq!(answer(&[offer]), Ok(None), "{offer}");
            let all = format!("{offer}, permessage-deflate");
            assert_eq!(answer(&[&all]), Ok(Some(ACCEPTED.to_owned())), "{all}");
            assert_eq!(answer(&[offer, "permessage-deflate"]), Ok(Some(ACCEPTED.to_owned())), "{offer}");
        }
        assert_eq!(answer(&[]), Ok(None));
    }

    #[test]
    fn a_limit_for_the_window_is_confirmed() {
        let accepted = Ok(Some(format!("{ACCEPTED}; server_max_window_bits=15")));
        assert_eq!(answer(&["permessage-deflate; server_max_window_bits=15"]), accepted);
        let first_of_two = "permessage-deflate; server_max_window_bits=15, permessage-deflate";
        assert_eq!(answer(&[first_of_two]), accepted);
    }

    #[test]
    fn a_malformed_header_is_refused_even_after_a_valid_offer() {
        for header in [
            "permessage-deflate;",
            "; client_max_window_bits",
            "permessage-deflate; =15",
            "permessage-deflate; client_max_window_bits=",
            "permessage-deflate; client_max_window_bits=\"15",
            "permessage-deflate; client_max_window_bits=\"\"",
            "permessage-deflate; client_max_window_bits=\"1,5\"",
            "permessage-deflate; client_max_window_bits=\"15\\\"",
            "permessage deflate",
            "permessage-deflate, a/b",
        ] {
            assert_eq!(answer(&[header]), Err(Malformed), "{header}");
            assert_eq!(answer(&["permessage-deflate", header]), Err(Malformed), "{header}");
        }
    }
}
