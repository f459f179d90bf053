//! Changes of a user reach all sessions of that user.

use relogin_users::UserChange;

use super::*;

fn change(id: i64) -> UserChange {
    UserChange { id: UserId::Number(id), is_password_new: false, keep: None }
}

/// The events of a connection, in their order; those of others may come in between.
fn on<'a>(on: &str, published: &'a str) -> Vec<&'a str> {
    published.lines().filter_map(|line| line.strip_prefix(on)).map(str::trim_start).collect()
}

impl World {
    fn sid_on(&self, on: &str) -> SessionId {
        let stored = self.store.find_by_connection(&cid(on)).now_or_never().unwrap();
        stored.unwrap().unwrap().record.sid
    }
}

#[tokio::test(start_paused = true)]
async fn another_role_reaches_all_connections_of_all_sessions_at_once() {
    let mut world = World::new().await;
    let key = world.login("a", 1).await.unwrap().relogin_key;
    world.attempt("b", &key, 1).await.unwrap();
    world.login("c", 1).await.unwrap();
    world.login("d", 2).await.unwrap();
    world.published();
    world.users.known.lock().unwrap().get_mut(&UserId::Number(1)).unwrap().role = "admin".to_owned();
    world.sessions.apply_user_change(&change(1)).await.unwrap();
    let published = world.published();
    for connection in ["a", "b", "c"] {
        assert_eq!(on(connection, &published), ["token \"admin\"", "user \"jane\""]);
    }
    assert_eq!(published.lines().count(), 6, "{published}");
    assert_eq!(world.sessions_of(1).await, 2);
}

#[tokio::test(start_paused = true)]
async fn a_removed_user_is_logged_out_at_once() {
    let mut world = World::new().await;
    let key = world.login("a", 1).await.unwrap().relogin_key;
    world.login("b", 1).await.unwrap();
    world.published();
    world.users.known.lock().unwrap().remove(&UserId::Number(1));
    world.sessions.apply_user_change(&change(1)).await.unwrap();
    let published = world.published();
    for connection in ["a", "b"] {
        assert_eq!(on(connection, &published), ["user null", "token null"]);
    }
    assert_eq!(world.sessions_of(1).await, 0);
    assert_eq!(world.relogin("a", &key).await, Err(Denied::InvalidReloginKey));
    world.sessions.apply_user_change(&change(1)).await.unwrap();
    assert_eq!(world.published(), "", "published twice, nothing more happens");
}

#[tokio::test(start_paused = true)]
async fn another_password_ends_all_sessions_but_the_one_it_was_changed_in() {
    let mut world = World::new().await;
    for on in ["a", "b", "c"] {
        world.login(on, 1).await.unwrap();
    }
    world.published();
    let keep = Some(world.sid_on("b"));
    world.sessions.apply_user_change(&UserChange { is_password_new: true, keep, ..change(1) }).await.unwrap();
    assert_eq!((world.user_on("a").await, world.user_on("c").await), (None, None));
    assert_eq!(world.user_on("b").await.as_deref(), Some("jane"));
    let published = world.published();
    for connection in ["a", "c"] {
        assert_eq!(on(connection, &published), ["user null", "token null"]);
    }

    world.sessions.apply_user_change(&UserChange { is_password_new: true, ..change(1) }).await.unwrap();
    assert_eq!(world.sessions_of(1).await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_change_that_could_not_be_sent_is_an_error_and_can_be_sent_again() {
    let mut world = World::new().await;
    world.login("a", 1).await.unwrap();
    world.published();
    world.users.fails.store(true, SeqCst);
    assert!(matches!(world.sessions.apply_user_change(&change(1)).await, Err(SessionsError::Directory(_))));
    world.users.fails.store(false, SeqCst);
    world.bus.fails.store(true, SeqCst);
    assert!(matches!(world.sessions.apply_user_change(&change(1)).await, Err(SessionsError::Bus(_))));
    world.bus.fails.store(false, SeqCst);
    world.sessions.apply_user_change(&change(1)).await.unwrap();
    assert_eq!(world.published(), "a token \"user\"\na user \"jane\"");
}
