//! base64url without padding, and in its canonical form alone, so that no two texts are the same
//! bytes. In little code: the page downloads it. Nothing here is to be kept secret by how long it
//! takes: whoever has the text has what it says.

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
    let mut text = String::with_capacity((bytes.len() * 4).div_ceil(3));
    let (mut bits, mut count) = (0_u32, 0);
    for byte in bytes {
        bits = bits << 8 | u32::from(*byte);
        count += 8;
        while count >= 6 {
            count -= 6;
            text.push(letter(bits >> count));
        }
    }
    if count > 0 {
        text.push(letter(bits << (6 - count)));
    }
    text
}

/// Fills `bytes` with what `text` says. `None` if it does not say exactly so many.
pub(crate) fn decode(text: &[u8], bytes: &mut [u8]) -> Option<()> {
    if text.len() != (bytes.len() * 4).div_ceil(3) {
        return None;
    }
    let (mut bits, mut count) = (0_u32, 0);
    let mut bytes = bytes.iter_mut();
    for letter in text {
        // One load: services read a key each time that it is used, and the processor guesses no
        // branch of a random letter.
        let value = VALUES[usize::from(*letter)];
        if value > 63 {
            return None;
        }
        bits = bits << 6 | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            *bytes.next()? = (bits >> count) as u8;
        }
    }
    // What is left over says nothing.
    (bits & ((1 << count) - 1) == 0).then_some(())
}

fn letter(bits: u32) -> char {
    char::from(LETTERS[bits as usize & 63])
}

#[cfg(test)]
mod tests {
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
    use proptest::prelude::*;

    use super::{decode, encode};

    proptest! {
        #[test]
        fn it_is_what_others_write_and_read(bytes in prop::collection::vec(any::<u8>(), 0..70)) {
            let text = encode(&bytes);
            prop_assert_eq!(&text, &URL_SAFE_NO_PAD.encode(&bytes));
            let mut read = vec![0; bytes.len()];
            prop_assert_eq!(decode(text.as_bytes(), &mut read), Some(()));
            prop_assert_eq!(read, bytes);
        }

        #[test]
        fn what_others_refuse_is_refused(text in "[A-Za-z0-9_+/=é-]{0,24}") {
            let theirs = URL_SAFE_NO_PAD.decode(&text).ok();
            let mut read = vec![0; text.len() * 3 / 4];
            let ours = decode(text.as_bytes(), &mut read).map(|()| read);
            prop_assert_eq!(ours, theirs);
        }
    }
}
