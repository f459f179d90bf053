//! A user who has more sessions than they may have.

use super::*;

impl World {
    async fn capped(most: usize) -> Self {
        let world = Self::new().await;
        let Ok(sessions) = Arc::try_unwrap(world.sessions) else { panic!("nobody else has them yet") };
        Self { sessions: Arc::new(sessions.with_cap(most)), ..world }
    }
}

#[tokio::test(start_paused = true)]
async fn one_session_too_many_ends_the_least_recently_used() {
    let mut world = World::capped(3).await;
    let mut keys = Vec::new();
    for on in ["a", "b", "c"] {
        keys.push(world.login(on, 1).await.unwrap().relogin_key);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    world.login("other", 2).await.unwrap();
    world.relogin("a", &keys[0]).await.unwrap();
    tokio::time::sleep(Duration::from_millis(10)).await;
    world.published();
    world.login("d", 1).await.unwrap();
    let published = world.published();
    let ended: Vec<_> = published.lines().filter(|line| line.starts_with("b ")).collect();
    assert_eq!(ended, ["b user null", "b token null"], "as an administrator's end is published");
    assert_eq!(world.sessions_of(1).await, 3);
    assert_eq!(world.relogin("b", &keys[1]).await, Err(Denied::InvalidReloginKey));
    for (on, user) in
        [("a", Some("jane")), ("b", None), ("c", Some("jane")), ("d", Some("jane")), ("other", Some("john"))]
    {
        assert_eq!(world.user_on(on).await.as_deref(), user, "{on}");
    }
}

#[tokio::test(start_paused = true)]
async fn logins_at_the_same_time_leave_as_many_as_there_may_be() {
    for most in [1, 5] {
        let world = World::capped(most).await;
        let names: Vec<_> = (0..40).map(|n| format!("c{n}")).collect();
        let logins = names.iter().map(|on| world.login(on, 1));
        assert!(join_all(logins).await.iter().all(Result::is_ok));
        assert_eq!(world.sessions_of(1).await, most);
    }
}
