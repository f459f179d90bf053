//! Operators see sessions and end them.

use super::*;

impl World {
    /// All sessions, in pages of two; `between` is done after each.
    async fn pages(&self, user: Option<i64>, mut between: impl AsyncFnMut()) -> Vec<Vec<SessionId>> {
        let (mut pages, mut after, user) = (Vec::new(), None, user.map(UserId::Number));
        loop {
            let page = self.sessions.page(user.as_ref(), after, 2).await.unwrap();
            pages.push(page.sessions.iter().map(|stored| stored.record.sid).collect());
            after = page.next;
            if after.is_none() {
                return pages;
            }
            between().await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_list_in_pages_has_each_session_whatever_happens_meanwhile() {
    let world = World::new().await;
    let mut keys = Vec::new();
    for (on, user) in [("a", 1), ("b", 2), ("c", 1), ("d", 1), ("e", 2)] {
        keys.push(world.login(on, user).await.unwrap().relogin_key);
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let sid = async |on: &str| world.sessions.on_connection(&cid(on)).await.unwrap().unwrap().sid;
    let [a, b, c, d, e] = [sid("a").await, sid("b").await, sid("c").await, sid("d").await, sid("e").await];
    assert_eq!(world.pages(None, async || {}).await, [vec![a, b], vec![c, d], vec![e]]);
    assert_eq!(world.pages(Some(1), async || {}).await, [vec![a, c], vec![d]]);
    assert_eq!(world.pages(Some(2), async || {}).await, [[b, e]]);
    assert_eq!(world.pages(Some(3), async || {}).await, [Vec::new()]);
    // One is used in between, which puts it last, and one ends.
    let mut is_first = true;
    let used = async || {
        if std::mem::take(&mut is_first) {
            world.relogin("a", &keys[0]).await.unwrap();
            world.logout("d").await;
        }
    };
    assert_eq!(world.pages(None, used).await, [vec![a, b], vec![c, e], vec![a]]);
    // One that is over, and not disposed of yet.
    tokio::time::sleep(Duration::from_millis(116_500)).await;
    let page = world.sessions.page(None, None, 9).await.unwrap();
    assert_eq!(page.sessions.iter().map(|stored| stored.record.sid).collect::<Vec<_>>(), [c, e, a]);
    assert!(world.sessions.look_up(b).await.unwrap().is_none());
    assert!(world.sessions.look_up(c).await.unwrap().is_some());
}

#[tokio::test(start_paused = true)]
async fn an_operator_ends_sessions_for_all_of_their_connections() {
    let mut world = World::new().await;
    let key = world.login("a", 1).await.unwrap().relogin_key;
    world.attempt("b", &key, 1).await.unwrap();
    let sid = world.sessions.on_connection(&cid("b")).await.unwrap().unwrap().sid;
    for on in ["c", "d", "e"] {
        world.login(on, 1).await.unwrap();
    }
    world.login("other", 2).await.unwrap();
    world.published();
    assert!(world.sessions.revoke_for_operator(sid).await.unwrap());
    assert_eq!(world.published(), "a user null\na token null\nb user null\nb token null");
    assert!(!world.sessions.revoke_for_operator(sid).await.unwrap(), "it is over");
    assert_eq!(world.published(), "");
    let user = UserId::Number(1);
    assert_eq!(world.sessions.revoke_user_for_operator(&user, 2).await.unwrap(), (2, true));
    assert_eq!(world.sessions.revoke_user_for_operator(&user, 2).await.unwrap(), (1, false));
    assert_eq!(world.sessions.revoke_user_for_operator(&user, 2).await.unwrap(), (0, false));
    assert_eq!(world.sessions_of(1).await, 0);
    assert_eq!(world.user_on("other").await.as_deref(), Some("john"));
}
