//! Which new passwords are accepted, as NIST SP 800-63B asks: long enough, and none of those that
//! everybody guesses first. Nothing is asked of their characters. Must not depend on where users
//! come from.
//!
//! The list has those of the 10,000 most common passwords that have 8 characters or more: 3,395,
//! from the list `passwords` of zxcvbn 4.5.0 (MIT licence), which is made from the 10 million
//! passwords that Mark Burnett published in 2015.

use relogin_session::Secret;
use thiserror::Error;
use zeroize::Zeroizing;

use crate::prepare::{prepared_password, prepared_username};

/// What is asked of a new password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PasswordRules {
    min_length: usize,
}

/// Why a new password is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum WeakPassword {
    /// It has fewer characters than this.
    #[error("the password is too short; it needs {0} characters or more")]
    TooShort(usize),
    /// It is among the first that are guessed.
    #[error("the password is too easy to guess: it is a common one, the username, or one character; choose another")]
    TooWeak,
}

/// One per line, in lower case.
const COMMON: &str = include_str!("common_passwords.txt");

impl PasswordRules {
    /// The least that can be asked for, in characters.
    pub const LEAST: usize = 8;

    /// The most that can be asked for: what NIST wants to be accepted at least.
    pub const MOST: usize = 64;

    /// Passwords of at least `min_length` characters; none if that cannot be asked for.
    #[must_use]
    pub fn new(min_length: usize) -> Option<Self> {
        (Self::LEAST..=Self::MOST).contains(&min_length).then_some(Self { min_length })
    }

    /// Checks a new password for the user of this name, if it is known.
    ///
    /// # Errors
    /// [`WeakPassword`] if it is not accepted.
    pub fn check(&self, password: &Secret, username: Option<&str>) -> Result<(), WeakPassword> {
        let prepared = prepared_password(password);
        let text = prepared.as_ref().unwrap_or(password).expose();
        if text.chars().count() < self.min_length {
            return Err(WeakPassword::TooShort(self.min_length));
        }
        let lower = Zeroizing::new(text.to_lowercase());
        let is_one_character = lower.chars().all(|c| lower.starts_with(c));
        let is_name = username.is_some_and(|name| prepared_username(name) == lower.as_str());
        let is_common = COMMON.lines().any(|common| common == lower.as_str());
        if is_one_character || is_name || is_common { Err(WeakPassword::TooWeak) } else { Ok(()) }
    }
}

impl Default for PasswordRules {
    fn default() -> Self {
        Self { min_length: Self::LEAST }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> Result<(), WeakPassword> {
        PasswordRules::default().check(&Secret::new(text.to_owned()), Some("J\u{fc}rgensen"))
    }

    #[test]
    fn short_and_common_passwords_are_refused_and_all_others_taken() {
        for (text, expected) in [
            ("", Err(WeakPassword::TooShort(8))),
            ("sesame7", Err(WeakPassword::TooShort(8))),
            // Characters, not bytes, and those that are typed together are one.
            ("\u{fc}\u{fc}\u{fc}\u{fc}\u{fc}\u{fc}", Err(WeakPassword::TooShort(8))),
            ("abcdefu\u{308}", Err(WeakPassword::TooShort(8))),
            ("password", Err(WeakPassword::TooWeak)),
            ("PassWord", Err(WeakPassword::TooWeak)),
            ("12345678", Err(WeakPassword::TooWeak)),
            ("11111111111111", Err(WeakPassword::TooWeak)),
            ("J\u{dc}RGENSEN", Err(WeakPassword::TooWeak)),
            ("correct horse", Ok(())),
            ("        x", Ok(())),
            ("\u{1f979}tausend", Ok(())),
        ] {
            assert_eq!(check(text), expected, "{text:?}");
        }
        let long = PasswordRules::new(15).unwrap();
        assert_eq!(long.check(&Secret::new("correct horse".to_owned()), None), Err(WeakPassword::TooShort(15)));
        assert!(PasswordRules::new(7).is_none() && PasswordRules::new(65).is_none());
    }

    #[test]
    fn the_list_is_sorted_in_lower_case_and_of_passwords_that_are_long_enough() {
        let list: Vec<_> = COMMON.lines().collect();
        assert_eq!(list.len(), 3395);
        assert!(list.is_sorted() && list.iter().all(|text| text.len() >= PasswordRules::LEAST));
        assert_eq!(COMMON.to_lowercase(), COMMON);
    }
}
