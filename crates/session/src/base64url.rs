//! base64url without padding, and only in its canonical form, so that no two texts are the same
//! bytes. Little code, because the page downloads it. It need not run in constant time: the text
//! itself is the secret.

const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// The value of each letter; 255 for other bytes.
const VALUES: [u8; 256] = {
    let mut values = [255; 256];
    let mut value = 0;
    while value < LETTERS.len() {
        values[LETTERS[value] as usize] = value as u8;
        value += 1;
    }
    values
};

/// The text of `bytes`.
#[must_use]
pub fn encode(bytes: &[u8]) -> String {
    let mut text = Vec::with_capacity(bytes.len().div_ceil(3) * 4);
    let (groups, rest) = bytes.as_chunks::<3>();
    for group in groups {
        text.extend_from_slice(&letters(*group));
    }
    match *rest {
        [a] => text.extend_from_slice(&letters([a, 0, 0])[..2]),
        [a, b] => text.extend_from_slice(&letters([a, b, 0])[..3]),
        _ => {}
    }
    // All of them are ASCII.
    String::from_utf8(text).unwrap_or_default()
}

/// Fills `bytes` with what `text` encodes. `None` if that is not exactly as many bytes; then their
/// content has no meaning.
pub(crate) fn decode(text: &[u8], bytes: &mut [u8]) -> Option<()> {
    if text.len() != (bytes.len() * 4).div_ceil(3) {
        return None;
    }
    let ((groups, rest), (bytes, last)) = (text.as_chunks::<4>(), bytes.as_chunks_mut::<3>());
    let mut wrong = 0;
    for (letters, bytes) in groups.iter().zip(bytes) {
        let (said, is_wrong) = group(*letters);
        *bytes = said;
        wrong |= is_wrong;
    }
    // A letter in place of those that are missing, which says nothing.
    let mut letters = [LETTERS[0]; 4];
    letters[..rest.len()].copy_from_slice(rest);
    let (said, is_wrong) = group(letters);
    let (said, left) = said.split_at(last.len());
    last.copy_from_slice(said);
    // What is left over says nothing.
    wrong |= is_wrong | left.iter().fold(0, |all, byte| all | byte);
    (wrong == 0).then_some(())
}

/// What four letters say, and 0 if all of them are letters. One load for each and no branch:
/// services read a key each time that it is used, and the processor guesses no branch of a random
/// letter.
fn group(letters: [u8; 4]) -> ([u8; 3], u8) {
    let values = letters.map(|letter| VALUES[usize::from(letter)]);
    let [_, said @ ..] = values.iter().fold(0, |bits, value| bits << 6 | u32::from(*value)).to_be_bytes();
    (said, values.iter().fold(0, |all, value| all | value) & !63)
}

/// The letters of three bytes.
fn letters([a, b, c]: [u8; 3]) -> [u8; 4] {
    let bits = u32::from_be_bytes([0, a, b, c]);
    [18, 12, 6, 0].map(|shift| LETTERS[(bits >> shift) as usize & 63])
}

#[cfg(test)]
mod tests {
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
    use proptest::prelude::*;

    use super::{decode, encode};

    proptest! {
        #[test]
        fn it_agrees_with_the_base64_crate(bytes in prop::collection::vec(any::<u8>(), 0..70)) {
            let text = encode(&bytes);
            prop_assert_eq!(&text, &URL_SAFE_NO_PAD.encode(&bytes));
            let mut read = vec![0; bytes.len()];
            prop_assert_eq!(decode(text.as_bytes(), &mut read), Some(()));
            prop_assert_eq!(read, bytes);
        }

        #[test]
        fn it_refuses_what_the_base64_crate_refuses(text in "[A-Za-z0-9_+/=é-]{0,24}") {
            let theirs = URL_SAFE_NO_PAD.decode(&text).ok();
            let mut read = vec![0; text.len() * 3 / 4];
            let ours = decode(text.as_bytes(), &mut read).map(|()| read);
            prop_assert_eq!(ours, theirs);
        }
    }
}
