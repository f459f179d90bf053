//! Relogin keys: malformed ones are refused, each has one text, and only the service's own verify.

use relogin_session::{Keyring, ReloginKey, SessionId};

use crate::supply::Supply;

pub(crate) fn relogin_key(input: &[u8]) {
    let keyring = Keyring::new(vec![vec![7; 32], vec![8; 33]]).unwrap();
    let other = Keyring::new(vec![vec![9; 32]]).unwrap();
    if let Ok(text) = std::str::from_utf8(input)
        && let Some(key) = ReloginKey::new(text.to_owned()).parse()
    {
        assert!(key.generation > 0, "login makes generation 1");
        assert!(!other.verify(&key, &[1; 16]), "verifies a key that it has not made");
    }

    let mut supply = Supply::new(input);
    let (sid, salt) = (SessionId(supply.array()), supply.array());
    let generation = u64::from_be_bytes(supply.array()).max(1);
    let genuine = keyring.mint(sid, &salt, generation);
    let parts = genuine.parse().unwrap();
    assert_eq!((parts.sid, parts.generation), (sid, generation));
    assert!(keyring.verify(&parts, &salt) && !other.verify(&parts, &salt));

    // Any other text is another key or none, and not genuine.
    let mut text = genuine.expose().as_bytes().to_vec();
    for _ in 0..supply.below(4) {
        let at = usize::from(supply.byte()) % text.len();
        text[at] = supply.byte();
    }
    text.truncate(text.len() - usize::from(supply.below(4)));
    text.extend(supply.line());
    if text != genuine.expose().as_bytes()
        && let Ok(text) = String::from_utf8(text)
        && let Some(forged) = ReloginKey::new(text).parse()
    {
        assert!(!keyring.verify(&forged, &salt), "forged");
    }
}
