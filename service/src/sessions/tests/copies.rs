//! A copy of the store or of the secret alone opens no session, in either format of keys.

use super::*;
use crate::signing::{self, KeyFormat};

fn keyring(secret: u8, format: KeyFormat) -> Keyring {
    let keyring = Keyring::new(vec![vec![secret; 32]]).unwrap();
    signing::with_tokens(keyring, format, "https://example.org".to_owned(), "session".to_owned())
}

/// The key that somebody with this secret would make of what they know about a session.
fn made_by(keyring: &Keyring, record: &Record, salt: &[u8; 16]) -> ReloginKey {
    keyring.of_session(salt).hand_out(relogin_session::key::jwt::Facts {
        sid: record.sid,
        generation: record.generation,
        user: &record.user_id,
        made: record.made,
        expires: record.session_deadline,
    })
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

#[tokio::test(start_paused = true)]
async fn neither_the_store_nor_the_secret_alone_opens_a_session() {
    for format in [KeyFormat::Opaque, KeyFormat::Jwt] {
        let mut world = World::new().await.with_keyring(keyring(1, format)).await;
        let first = world.login("a", 1).await.unwrap().relogin_key;
        let key = world.attempt("a", &first, 1).await.unwrap().relogin_key;
        let record = world.sessions.on_connection(&cid("a")).await.unwrap().unwrap();
        world.published();

        // The store: no key is in it, in any form, and none can be made of it.
        let stored = record.encode().unwrap();
        for key in [&first, &key] {
            assert!(!contains(&stored, key.expose().as_bytes()));
            for part in key.expose().split('.') {
                let bytes = base64::Engine::decode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, part).unwrap();
                assert!(bytes.windows(24).skip(24).all(|window| !contains(&stored, window)), "{format:?}");
            }
        }
        let of_the_store = made_by(&keyring(2, format), &record, &record.salt);
        // The secret: with all that logs say of the session, but for the salt.
        let of_the_secret = made_by(&keyring(1, format), &record, &[0; 16]);
        for forged in [of_the_store, of_the_secret] {
            assert_eq!(world.relogin("thief", &forged).await, Err(Denied::InvalidReloginKey), "{format:?}");
        }
        assert_eq!((world.published(), world.user_on("a").await.as_deref()), (String::new(), Some("jane")));
        // Both together are the key.
        assert_eq!(made_by(&keyring(1, format), &record, &record.salt).expose().len(), key.expose().len());
        assert!(world.attempt("a", &key, 2).await.is_ok());
    }
}
