//! Sessions whose keys are JSON Web Tokens: the same rules, and a change from one format to the
//! other and back.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

use super::*;
use crate::signing::{self, KeyFormat};

fn keyring(format: KeyFormat) -> Keyring {
    let keyring = Keyring::new(vec![vec![1; 32]]).unwrap();
    signing::with_tokens(keyring, format, "https://example.org".to_owned(), "session".to_owned())
}

fn is_jwt(key: &ReloginKey) -> bool {
    key.expose().split('.').count() == 3
}

#[tokio::test(start_paused = true)]
async fn a_json_web_token_is_rotated_retried_and_found_out_like_any_key() {
    let mut world = World::new().await.with_keyring(keyring(KeyFormat::Jwt)).await;
    let first = world.login("a", 1).await.unwrap().relogin_key;
    assert!(is_jwt(&first));
    let second = world.attempt("b", &first, 1).await.unwrap();
    tokio::time::sleep(Duration::from_secs(7)).await;
    let again = world.attempt("b", &first, 1).await.unwrap();
    assert_eq!((&again.relogin_key, again.generation), (&second.relogin_key, 2), "to the letter, however much later");
    world.published();
    assert_eq!(world.attempt("thief", &first, 2).await, Err(Denied::InvalidReloginKey));
    assert!(world.published().ends_with("a user null\na token null\nb user null\nb token null"));
    assert_eq!(world.sessions_of(1).await, 0);
    assert_eq!(world.attempt("b", &second.relogin_key, 3).await, Err(Denied::InvalidReloginKey));
}

/// A forged token ends nothing: it has another generation, or a signature that does not verify.
#[tokio::test(start_paused = true)]
async fn a_forged_token_changes_nothing() {
    let mut world = World::new().await.with_keyring(keyring(KeyFormat::Jwt)).await;
    let key = world.login("a", 1).await.unwrap().relogin_key;
    world.published();
    let [head, payload, signature]: [&str; 3] = key.expose().split('.').collect::<Vec<_>>().try_into().unwrap();
    let claims = String::from_utf8(URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap();
    let newer = URL_SAFE_NO_PAD.encode(claims.replace(r#""gen":1"#, r#""gen":9"#));
    for text in [
        format!("{head}.{payload}."),
        format!("{head}.{payload}.{}", "A".repeat(86)),
        format!("eyJhbGciOiJub25lIn0.{payload}."),
        format!("eyJhbGciOiJub25lIn0.{payload}.{signature}"),
        format!("{head}.{newer}.{signature}"),
    ] {
        assert_eq!(world.attempt("b", &ReloginKey::new(text), 1).await, Err(Denied::InvalidReloginKey));
    }
    assert_eq!((world.published(), world.user_on("a").await.as_deref()), (String::new(), Some("jane")));
}

/// It is the record's deadline that ends a session: `exp` is for others.
#[tokio::test(start_paused = true)]
async fn a_token_that_has_expired_for_others_keeps_its_live_session() {
    let world = World::new().await.with_keyring(keyring(KeyFormat::Jwt)).await;
    let first = world.login("a", 1).await.unwrap().relogin_key;
    let mut answer = world.attempt("b", &first, 1).await.unwrap();
    // Retries move the record's deadline, and the same token is handed out.
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_secs(100)).await;
        let again = world.attempt("b", &first, 1).await.unwrap();
        assert_eq!(again.relogin_key, answer.relogin_key);
        answer = again;
    }
    assert_eq!(world.attempt("b", &answer.relogin_key, 2).await.unwrap().generation, 3);
}

#[tokio::test(start_paused = true)]
async fn a_token_expires_no_later_than_its_session() {
    let world = World::new().await.with_keyring(keyring(KeyFormat::Jwt)).await;
    let mut key = world.login("a", 1).await.unwrap().relogin_key;
    for use_ in 1..=5 {
        tokio::time::sleep(Duration::from_secs(100)).await;
        key = world.attempt("a", &key, use_).await.unwrap().relogin_key;
    }
    let claims = URL_SAFE_NO_PAD.decode(key.expose().split('.').nth(1).unwrap()).unwrap();
    let claims: Value = serde_json::from_slice(&claims).unwrap();
    let lifetime = claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap();
    assert!((99..=100).contains(&lifetime), "what is left of the session, not a key's 120 s: {lifetime}");
}

#[tokio::test(start_paused = true)]
async fn a_session_outlives_a_change_of_the_format_and_back() {
    let world = World::new().await.with_keyring(keyring(KeyFormat::Opaque)).await;
    let first = world.login("a", 1).await.unwrap().relogin_key;
    let world = world.with_keyring(keyring(KeyFormat::Jwt)).await;
    let second = world.attempt("a", &first, 1).await.unwrap().relogin_key;
    assert!(!is_jwt(&first) && is_jwt(&second));
    assert_eq!(world.attempt("a", &first, 1).await.unwrap().relogin_key, second);
    let world = world.with_keyring(keyring(KeyFormat::Opaque)).await;
    let third = world.attempt("a", &second, 2).await.unwrap();
    assert_eq!((is_jwt(&third.relogin_key), third.generation), (false, 3));
    assert_eq!(world.user_on("a").await.as_deref(), Some("jane"));
}
