//! Validates subjects and patterns. All buses use these rules.

use super::BusError;

/// The longest subject or pattern, in bytes. A NATS server closes the connection at a line of more
/// than 4,096 bytes, and a line may hold a subject and an inbox: a client's long resource name must
/// not disconnect everybody.
pub const MAX_SUBJECT: usize = 3968;

/// Checks a subject to publish to: parts separated by dots, none of them empty or a wildcard.
///
/// # Errors
/// [`BusError::InvalidSubject`] if it is invalid.
pub fn check_subject(subject: &str) -> Result<(), BusError> {
    let is_valid = is_valid(subject) && subject.as_bytes().split(|&byte| byte == b'.').all(is_literal);
    is_valid.then_some(()).ok_or_else(|| invalid(subject))
}

/// Checks a pattern to subscribe to: a subject whose parts may be `*`, and the last of them `>`.
///
/// # Errors
/// [`BusError::InvalidSubject`] if it is invalid.
pub fn check_pattern(pattern: &str) -> Result<(), BusError> {
    let body = pattern.strip_suffix(".>").unwrap_or(pattern);
    let is_valid = is_valid(pattern) && (pattern == ">" || body.split('.').all(|part| !matches!(part, "" | ">")));
    is_valid.then_some(()).ok_or_else(|| invalid(pattern))
}

/// True if a part is neither empty nor a wildcard.
fn is_literal(part: &[u8]) -> bool {
    !matches!(part, b"" | b"*" | b">")
}

fn is_valid(text: &str) -> bool {
    // All bytes, even if one is wrong, because that is faster for those that are right.
    let is_wrong = |text: &str| text.bytes().fold(false, |any, byte| any | (byte <= b' ') | (byte == 0x7f));
    text.len() <= MAX_SUBJECT && !is_wrong(text)
}

fn invalid(text: &str) -> BusError {
    // Only as much of it as belongs in a log line.
    BusError::InvalidSubject(text.chars().take(100).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects() {
        for subject in ["a", "a.b", "event.session.user.c9v2.change", "a*.>b", "_INBOX.x.1", "é.ü"] {
            assert!(check_subject(subject).is_ok(), "{subject}");
        }
        for subject in
            ["", ".", "a.", ".a", "a..b", "a.*", ">", "a.>", "a b", "a\r\nPUB b", "a.\0", &"a".repeat(MAX_SUBJECT + 1)]
        {
            assert!(check_subject(subject).is_err(), "{subject}");
        }
    }

    #[test]
    fn patterns() {
        for pattern in ["a", "a.b", "*", ">", "a.*", "a.>", "*.b.*", "a.*.>", "a*.b>"] {
            assert!(check_pattern(pattern).is_ok(), "{pattern}");
        }
        for pattern in ["", ".>", "a..>", ">.a", "a.>.b", "a.>.>", ">.>", "a. >", &"a".repeat(MAX_SUBJECT + 1)] {
            assert!(check_pattern(pattern).is_err(), "{pattern}");
        }
    }
}
