//! Sessions that are bound to a device: what opens them, and what does not.

use std::sync::Mutex;

use relogin_session::{Device, MadeBy, challenge::LIFETIME};
use tracing::{Event, Subscriber, field::Visit};
use tracing_subscriber::{Layer, layer::Context, prelude::*};

use super::*;
use crate::proof::{self, tests::TestDevice};

/// Jane on `a`, by a device of each kind.
async fn worlds() -> Vec<(World, TestDevice, LoggedIn)> {
    let mut worlds = Vec::new();
    for device in [TestDevice::ed25519(), TestDevice::p256()] {
        let mut world = World::new().await;
        let user = world.users.known.lock().unwrap()[&UserId::Number(1)].clone();
        let public_key = proof::admit(&device.public_key());
        assert!(public_key.is_some());
        let described = Device { public_key, ..Device::default() };
        let login = Login { device: described, ..Login::new(cid("a"), user) };
        let logged_in = world.sessions.login(login).await.unwrap().unwrap();
        world.published();
        worlds.push((world, device, logged_in));
    }
    worlds
}

/// The device uses the key on a connection.
fn proven(world: &World, device: &TestDevice, on: &str, key: &ReloginKey) -> ReloginParams {
    let proof = device.sign(&world.sessions.challenge(&cid(on)).challenge, key);
    ReloginParams { proof: Some(proof), ..using(key, Some(1)) }
}

async fn relogin(world: &World, on: &str, params: &ReloginParams) -> Answer {
    world.sessions.relogin(cid(on), params, None, Browser::default()).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_proven_device_rotates_and_catches_up_however_late_it_is() {
    for (mut world, device, first) in worlds().await {
        assert!(first.bound);
        let mut keys = vec![first.relogin_key];
        for (n, on) in ["a", "b", "c"].into_iter().enumerate() {
            let next = relogin(&world, on, &proven(&world, &device, on, &keys[n])).await.unwrap();
            assert!(next.bound);
            keys.push(next.relogin_key);
        }
        world.published();
        for key in &keys[..3] {
            let caught_up = relogin(&world, "d", &proven(&world, &device, "d", key)).await.unwrap();
            assert_eq!((&caught_up.relogin_key, caught_up.generation), (&keys[3], 4));
        }
        assert_eq!(world.published().lines().next(), Some("d token \"user\""));
        for on in ["a", "b", "c", "d"] {
            assert_eq!(world.user_on(on).await.as_deref(), Some("jane"), "{on}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_stolen_key_of_a_bound_session_opens_nothing() {
    for (mut world, device, first) in worlds().await {
        let second = relogin(&world, "a", &proven(&world, &device, "a", &first.relogin_key)).await.unwrap();
        let third = proven(&world, &device, "a", &second.relogin_key);
        let record = world.sessions.on_connection(&cid("a")).await.unwrap();
        world.published();
        let (thief, other_kind) = match device {
            TestDevice::Ed25519(_) => (TestDevice::ed25519(), TestDevice::p256()),
            TestDevice::P256(_) => (TestDevice::p256(), TestDevice::ed25519()),
        };
        let (first, second) = (&first.relogin_key, &second.relogin_key);
        for (key, another) in [(first, second), (second, first)] {
            let bad = [
                using(key, None),
                using(key, Some(1)),
                proven(&world, &thief, "thief", key),
                proven(&world, &other_kind, "thief", key),
                // What the owner has signed for another key.
                ReloginParams { proof: proven(&world, &device, "thief", another).proof, ..using(key, Some(1)) },
            ];
            for params in bad {
                assert_eq!(relogin(&world, "thief", &params).await, Err(Denied::InvalidReloginKey));
            }
            let signature = "A".repeat(86);
            for signature in [&signature, "", "x", &"A".repeat(60_000)] {
                let mut params = proven(&world, &device, "thief", key);
                params.proof.as_mut().unwrap().signature = signature.to_owned();
                assert_eq!(relogin(&world, "thief", &params).await, Err(Denied::InvalidReloginKey));
            }
        }
        assert_eq!(
            (world.published(), world.sessions.on_connection(&cid("a")).await.unwrap()),
            (String::new(), record)
        );
        // The owner is not disturbed, not even if a thief uses a proof that the owner has made.
        assert_eq!(
            relogin(&world, "thief", &third).await,
            Err(Denied::InvalidChallenge),
            "another connection's challenge"
        );
        assert_eq!(relogin(&world, "a", &third).await.unwrap().generation, 3);
    }
}

#[tokio::test(start_paused = true)]
async fn a_challenge_is_good_for_one_connection_and_a_minute() {
    let (mut world, device, first) = worlds().await.remove(0);
    let params = proven(&world, &device, "b", &first.relogin_key);
    assert_eq!(relogin(&world, "c", &params).await, Err(Denied::InvalidChallenge));
    for challenge in ["", "x", &"A".repeat(32), &"A".repeat(60_000)] {
        let proof = Some(device.sign(challenge, &first.relogin_key));
        let params = ReloginParams { proof, ..using(&first.relogin_key, None) };
        assert_eq!(relogin(&world, "b", &params).await, Err(Denied::InvalidChallenge));
    }
    tokio::time::advance(Duration::from_millis(LIFETIME)).await;
    assert_eq!(relogin(&world, "b", &params).await, Err(Denied::InvalidChallenge), "expired");
    // Also of an invalid key: nobody learns by it which key is genuine.
    let unknown = ReloginParams { relogin_key: ReloginKey::new("x".to_owned()), ..params };
    assert_eq!(relogin(&world, "b", &unknown).await, Err(Denied::InvalidChallenge));
    assert_eq!(world.published(), "");
    // Nothing was decided: with a new one the key is as good as before.
    relogin(&world, "b", &proven(&world, &device, "b", &first.relogin_key)).await.unwrap();
}

/// A signature of ECDSA has a second form that anybody can make of the first. As both are for the
/// same challenge and key, it is the same request once more.
#[tokio::test(start_paused = true)]
async fn the_second_form_of_a_signature_buys_nothing() {
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
    /// The order of the group of P-256.
    const ORDER: &str = "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551";
    let (world, device, first) = worlds().await.pop().unwrap();
    let params = proven(&world, &device, "a", &first.relogin_key);
    let mut raw = URL_SAFE_NO_PAD.decode(&params.proof.as_ref().unwrap().signature).unwrap();
    let mut borrow = 0;
    for at in (0..32).rev() {
        let order = i16::from_str_radix(&ORDER[2 * at..2 * at + 2], 16).unwrap();
        let digit = order - i16::from(raw[32 + at]) - borrow;
        borrow = i16::from(digit < 0);
        raw[32 + at] = digit.rem_euclid(256).to_le_bytes()[0];
    }
    let mut second_form = params.clone();
    second_form.proof.as_mut().unwrap().signature = URL_SAFE_NO_PAD.encode(raw);
    assert_ne!(second_form.proof, params.proof);
    let rotated = relogin(&world, "a", &params).await.unwrap();
    let again = relogin(&world, "a", &params).await.unwrap();
    assert_eq!((relogin(&world, "a", &second_form).await.unwrap(), rotated.generation), (again, 2));
    assert_eq!(relogin(&world, "b", &second_form).await, Err(Denied::InvalidChallenge));
}

/// The tabs of a browser, in whatever order they use the key: no connection is cleared.
#[tokio::test(start_paused = true)]
async fn bound_sessions_never_move() {
    for (mut world, device, first) in worlds().await {
        relogin(&world, "b", &proven(&world, &device, "b", &first.relogin_key)).await.unwrap();
        world.published();
        relogin(&world, "c", &proven(&world, &device, "c", &first.relogin_key)).await.unwrap();
        assert_eq!(world.published(), "c token \"user\"\nc user \"jane\"");
        let made_by = world.sessions.on_connection(&cid("c")).await.unwrap().unwrap().made_by;
        assert_eq!(made_by, MadeBy { connection: cid("b"), attempt: Some(Attempt([1; 16])), retried: false });
    }
}

#[tokio::test(start_paused = true)]
async fn a_bearer_session_needs_no_proof_and_takes_one() {
    let world = World::new().await;
    let key = world.login("a", 1).await.unwrap();
    assert!(!key.bound);
    let params = proven(&world, &TestDevice::ed25519(), "a", &key.relogin_key);
    assert_eq!(relogin(&world, "a", &params).await.unwrap().generation, 2);
}

/// Gathers the log's lines with their fields.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<String>>>);

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        struct Fields(String);
        impl Visit for Fields {
            fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
                self.0 += &format!(" {field}={value:?}");
            }
        }
        let mut fields = Fields(event.metadata().level().to_string());
        event.record(&mut fields);
        self.0.lock().unwrap().push(fields.0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_missing_proof_is_in_the_log_and_a_late_message_is_not() {
    let (world, device, first) = worlds().await.remove(0);
    let lines = Lines::default();
    // With one subscriber in all, an event that another thread is the first to reach counts as one
    // that nobody wants, for good.
    let _second = tracing::Dispatch::new(tracing_subscriber::registry());
    let _log = tracing::subscriber::set_default(
        tracing_subscriber::registry().with(lines.clone().with_filter(tracing_subscriber::filter::LevelFilter::INFO)),
    );
    assert_eq!(relogin(&world, "b", &using(&first.relogin_key, None)).await, Err(Denied::InvalidReloginKey));
    let sid = first.relogin_key.parse().unwrap().sid;
    let logged = std::mem::take(&mut *lines.0.lock().unwrap());
    assert_eq!(logged.len(), 1, "{logged:?}");
    for part in ["INFO", "outcome=proof_missing", &format!("session={sid}"), "connection=b"] {
        assert!(logged[0].contains(part), "{logged:?}");
    }
    assert!(!logged[0].contains(first.relogin_key.expose()));
    relogin(&world, "a", &proven(&world, &device, "a", &first.relogin_key)).await.unwrap();

    let key = world.login("x", 2).await.unwrap().relogin_key;
    let next = world.attempt("x", &key, 1).await.unwrap().relogin_key;
    world.attempt("x", &next, 2).await.unwrap();
    lines.0.lock().unwrap().clear();
    assert_eq!(world.attempt("y", &key, 1).await, Err(Denied::InvalidReloginKey));
    assert_eq!(*lines.0.lock().unwrap(), [""; 0]);
    world.attempt("y", &key, 3).await.unwrap_err();
    assert!(lines.0.lock().unwrap()[0].contains("outcome=reuse_detected"));
}
