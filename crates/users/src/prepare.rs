//! Brings usernames and passwords into the one form in which they are compared and hashed: RFC
//! 8265's profiles UsernameCaseMapped and OpaqueString. Keyboards send "ü" as one code point or as
//! two, and nobody can see which. Must not depend on users, files or hashes.

use std::borrow::Cow;

use precis_profiles::{
    OpaqueString, UsernameCaseMapped,
    precis_core::{CodepointInfo, DerivedPropertyValue, Error as ProfileError, profile::PrecisFastInvocation},
};
use relogin_session::Secret;
use thiserror::Error;
use unicode_normalization::{UnicodeNormalization, is_nfc};
use zeroize::Zeroizing;

/// The longest username, in bytes of UTF-8 after preparation.
pub const MAX_USERNAME: usize = 512;

/// The longest password, in bytes, to which its whole profile is applied. A longer one is only
/// normalized to Unicode form C, because the profile's rules for characters in context take time
/// that grows with the square of the length.
pub const MAX_PROFILED_PASSWORD: usize = 1024;

/// Why a text is not a username.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum UsernameError {
    /// Nothing is left of it without its spaces.
    #[error("it is empty")]
    Empty,
    /// Longer than [`MAX_USERNAME`].
    #[error("it is longer than {MAX_USERNAME} bytes")]
    TooLong,
    /// The profile does not allow a character, or not in this place.
    #[error("a username cannot have U+{0:04X} here (RFC 8265)")]
    Character(u32),
    /// Text from right to left and from left to right in one word.
    #[error("it mixes left-to-right and right-to-left text")]
    Directions,
}

/// The form of a username in which two that nobody can tell apart are equal: lower case, one
/// Unicode form, no spaces around it and single ones within. Preparing it again changes nothing.
///
/// RFC 8265 treats a username as words separated by spaces, and applies the profile to each. The
/// profile's tables are those of Unicode 6.3; a word with a newer character is only lower-cased and
/// normalized, so that names in newer scripts are accepted.
///
/// # Errors
/// [`UsernameError`] if it is invalid.
pub fn username(text: &str) -> Result<String, UsernameError> {
    if text.len() > MAX_USERNAME {
        return Err(UsernameError::TooLong);
    }
    let words: Vec<_> = lower(text).split_whitespace().map(prepared_word).collect::<Result<_, _>>()?;
    let prepared = words.join(" ");
    match prepared.len() {
        0 => Err(UsernameError::Empty),
        1..=MAX_USERNAME => Ok(prepared),
        _ => Err(UsernameError::TooLong),
    }
}

/// Like [`username`], for comparing what strangers send. A word that no username can have is only
/// lower-cased and normalized; a text that is too long stays as it is.
#[must_use]
pub fn prepared_username(text: &str) -> String {
    if text.len() > MAX_USERNAME {
        return text.to_owned();
    }
    let lower = lower(text);
    let words = lower.split_whitespace().map(|word| prepared_word(word).unwrap_or_else(|_| word.nfc().collect()));
    words.collect::<Vec<_>>().join(" ")
}

/// The form of a password that is hashed: one Unicode form, and all kinds of spaces the same.
/// `None` if it has that form already.
///
/// No password is refused: one with characters that the profile does not allow (control characters,
/// and whatever is newer than Unicode 6.3) may have been set earlier, and is as good as any other.
/// It is only normalized.
#[must_use]
pub fn prepared_password(password: &Secret) -> Option<Secret> {
    let typed = password.expose();
    let normal = if is_nfc(typed) { Cow::Borrowed(typed) } else { Cow::Owned(typed.nfc().collect()) };
    let profiled = (normal.len() <= MAX_PROFILED_PASSWORD)
        .then(|| <OpaqueString as PrecisFastInvocation>::enforce(&*normal).ok().map(Cow::into_owned))
        .flatten();
    // Each copy on the way is wiped.
    let prepared = Zeroizing::new(profiled.unwrap_or_else(|| normal.clone().into_owned()));
    if let Cow::Owned(normal) = normal {
        drop(Zeroizing::new(normal));
    }
    (*prepared != typed).then(|| Secret::new(prepared.to_string()))
}

/// Normalized first, so that all forms of a text are treated alike. Lower-cased by whole words,
/// like Unicode's toLowerCase(): the profile's crate maps each character by itself, and so has no
/// final sigma.
fn lower(text: &str) -> String {
    text.nfc().collect::<String>().to_lowercase()
}

fn prepared_word(word: &str) -> Result<String, UsernameError> {
    match <UsernameCaseMapped as PrecisFastInvocation>::enforce(word) {
        Ok(word) => Ok(word.into_owned()),
        Err(ProfileError::BadCodepoint(CodepointInfo { property: DerivedPropertyValue::Unassigned, .. })) => {
            Ok(word.nfc().collect())
        }
        Err(ProfileError::BadCodepoint(CodepointInfo { cp, .. })) => Err(UsernameError::Character(cp)),
        Err(ProfileError::Invalid) => Err(UsernameError::Directions),
        // A character whose validity depends on its neighbours, and has none.
        Err(ProfileError::Unexpected(_)) => {
            let by_neighbours = |c: &char| "\u{b7}\u{375}\u{5f3}\u{5f4}\u{200c}\u{200d}\u{30fb}".contains(*c);
            Err(word
                .chars()
                .find(by_neighbours)
                .map_or(UsernameError::Directions, |c| UsernameError::Character(c.into())))
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn password(text: &str) -> String {
        let typed = Secret::new(text.to_owned());
        prepared_password(&typed).map_or_else(|| text.to_owned(), |prepared| prepared.expose().to_owned())
    }

    #[test]
    fn names_that_nobody_can_tell_apart_are_one() {
        for (text, prepared) in [
            ("jane", "jane"),
            ("Jane ", "jane"),
            ("\tJANE\u{a0}", "jane"),
            ("Jane  Doe", "jane doe"),
            ("jane@example.org", "jane@example.org"),
            ("J\u{fc}rgen", "j\u{fc}rgen"),
            ("JU\u{308}RGEN", "j\u{fc}rgen"),
            // Full width, as Japanese keyboards send; the signs of Kelvin and Angstrom; final
            // sigma.
            ("\u{ff2a}\u{ff21}\u{ff2e}\u{ff25}", "jane"),
            ("\u{212a}\u{212b}", "k\u{e5}"),
            (
                "\u{39f}\u{394}\u{3a5}\u{3a3}\u{3a3}\u{395}\u{3a5}\u{3a3}",
                "\u{3bf}\u{3b4}\u{3c5}\u{3c3}\u{3c3}\u{3b5}\u{3c5}\u{3c2}",
            ),
            ("\u{5d9}\u{5e2}\u{5dc}", "\u{5d9}\u{5e2}\u{5dc}"),
            // An ideograph of Unicode 8 in a name of today.
            ("\u{2b820}Li", "\u{2b820}li"),
        ] {
            assert_eq!(username(text).as_deref(), Ok(prepared), "{text:?}");
        }
    }

    #[test]
    fn what_cannot_be_seen_or_is_not_for_names_is_refused() {
        use UsernameError::{Character, Directions, Empty, TooLong};
        for (text, error) in [
            ("", Empty),
            (" \u{3000}\n", Empty),
            ("jane\u{200b}", Character(0x200b)),
            ("ja\u{ad}ne", Character(0xad)),
            ("ja\u{0}ne", Character(0)),
            ("\u{200d}jane", Character(0x200d)),
            ("anna\u{2665}", Character(0x2665)),
            ("\u{fb01}na", Character(0xfb01)),
            ("jane\u{5d9}", Directions),
            (&"j".repeat(513), TooLong),
        ] {
            assert_eq!(username(text), Err(error), "{text:?}");
        }
        assert!(username(&"j".repeat(512)).is_ok());
        assert_eq!(prepared_username("Anna\u{2665}"), "anna\u{2665}");
    }

    #[test]
    fn one_password_in_two_forms_is_one_and_all_else_counts() {
        for (text, prepared) in [
            ("p\u{e4}ss w\u{f6}rd", "p\u{e4}ss w\u{f6}rd"),
            ("pa\u{308}ss\u{a0}wo\u{308}rd", "p\u{e4}ss w\u{f6}rd"),
            (" Space, Case ", " Space, Case "),
            ("\u{ff2a}", "\u{ff2a}"),
            // Neither a control character nor an emoji of Unicode 14 keeps a password from having
            // one form.
            ("tab\tu\u{308}", "tab\t\u{fc}"),
            ("\u{1f979}u\u{308}", "\u{1f979}\u{fc}"),
            ("", ""),
        ] {
            assert_eq!(password(text), prepared, "{text:?}");
        }
        let long = |umlaut: &str| umlaut.repeat(1000);
        assert_eq!(password(&long("u\u{308}")), long("\u{fc}"));
    }

    proptest! {
        #[test]
        fn preparing_again_changes_nothing(text in "\\PC{0,40}|[a-zA-Z\u{300}-\u{36f}\u{b7}l\u{391}-\u{3ff}\u{5d0}-\u{5ea}\u{ff01}-\u{ffee} ]{0,40}") {
            if let Ok(once) = username(&text) {
                prop_assert_eq!(username(&once), Ok(once.clone()));
            }
            let once = prepared_username(&text);
            prop_assert_eq!(prepared_username(&once), once);
            let once = password(&text);
            prop_assert_eq!(password(&once), once);
        }

        #[test]
        fn the_normalization_form_does_not_matter(text in "\\PC{0,40}") {
            let (composed, decomposed): (String, String) = (text.nfc().collect(), text.nfd().collect());
            prop_assert_eq!(password(&composed), password(&decomposed));
            prop_assert_eq!(prepared_username(&composed), prepared_username(&decomposed));
        }
    }
}
