//! The storage record in a real browser: both places, and each way in which they can disagree.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails by panicking")]

use std::pin::pin;

use futures_channel::mpsc;
use futures_util::{StreamExt as _, future};
use gloo_timers::future::TimeoutFuture;
use relogin_client_proto::Secret;
use wasm_bindgen_test::wasm_bindgen_test;
use web_sys::Storage as WebStorage;

use super::{
    super::{
        global,
        testing::{Broken, Sabotage, everything, forget, make_old_database, other_tab, within},
    },
    Database, Storage,
};

/// A tab: it has a connection of its own to the database.
struct Tab(Storage);

impl Tab {
    fn new(name: &str) -> Self {
        Self::that_notifies(name, || {})
    }

    fn that_notifies(name: &str, heard: impl Fn() + 'static) -> Self {
        Self(Storage::open(name, &Database::new(name), heard))
    }

    async fn read(&self) -> Option<String> {
        within("a read", self.0.read()).await.as_ref().map(text)
    }

    async fn swap(&self, from: Option<&str>, to: Option<&str>) -> Option<String> {
        let [from, to] = [from, to].map(|text| text.map(|text| Secret::new(text.to_owned())));
        within("a swap", self.0.swap(from.as_ref(), to.as_ref())).await.as_ref().map(text)
    }

    async fn look(&self) -> Option<String> {
        self.swap(None, None).await
    }
}

fn text(secret: &Secret) -> String {
    secret.expose().to_owned()
}

fn local() -> WebStorage {
    global().local_storage().unwrap().unwrap()
}

fn in_local(name: &str) -> Option<String> {
    local().get_item(name).unwrap()
}

/// A key of the session `session`, in the form that shows it.
fn key(session: &str) -> String {
    session.repeat(74) + "A"
}

/// A record with it.
fn record(session: &str, generation: u64) -> String {
    let key = key(session);
    format!(r#"{{"key":"{key}","generation":{generation}}}"#)
}

fn a(generation: u64) -> String {
    record("A", generation)
}

/// As a tab writes it to localStorage while the log does not take it.
fn unlogged(text: &str) -> String {
    text.replacen('{', r#"{"unlogged":"","#, 1)
}

/// All that the database has, as text.
async fn in_database(name: &str) -> String {
    everything(name).await.unwrap().as_string().unwrap()
}

#[wasm_bindgen_test]
async fn both_places_have_the_record_and_no_key_outlives_its_removal() {
    let (one, other) = (Tab::new("test:swap"), Tab::new("test:swap"));
    assert_eq!(one.read().await, None);
    assert_eq!(one.swap(None, Some(&a(1))).await, Some(a(1)));
    assert_eq!((in_local("test:swap"), other.read().await), (Some(a(1)), Some(a(1))));
    assert_eq!(other.swap(None, Some(&a(9))).await, Some(a(1)), "what is there is not what was expected");
    let b = record("B", 1);
    assert_eq!(other.swap(Some(&a(1)), Some(&b)).await, Some(b.clone()));
    assert!(!in_database("test:swap").await.contains(&key("A")));
    assert_eq!(one.swap(Some(&b), None).await, None);
    let left = in_database("test:swap").await;
    assert!(!left.contains(&key("A")) && !left.contains(&key("B")), "{left}");
    assert_eq!((in_local("test:swap"), other.read().await), (None, None));
}

#[wasm_bindgen_test]
async fn of_tabs_that_swap_the_same_text_at_once_one_wins() {
    let tabs: Vec<Tab> = (0..8).map(|_| Tab::new("test:race")).collect();
    let mut before = None;
    for round in 1..12 {
        let swaps = tabs.iter().enumerate().map(|(number, tab)| {
            let (from, to) = (before.clone(), a(round).replace('}', &format!(r#","by":{number}}}"#)));
            async move { tab.swap(from.as_deref(), Some(&to)).await }
        });
        let after = within("the swaps", future::join_all(swaps)).await;
        assert!(after[0].as_ref().is_some_and(|text| text.contains(&format!(r#""generation":{round},"#))), "{after:?}");
        assert!(after.iter().all(|text| *text == after[0]), "they disagree on who was first: {after:?}");
        before.clone_from(&after[0]);
    }
    assert_eq!(in_database("test:race").await.matches(&key("A")).count(), 1, "losers leave no text");
}

#[wasm_bindgen_test]
async fn a_tab_that_stops_in_the_middle_keeps_no_other_waiting() {
    for step in 0..12 {
        let name = format!("test:still-{step}");
        let (still, other) = (Tab::new(&name), Tab::new(&name));
        let (theirs, ours) = (a(1), record("B", 1));
        // It begins, and after so many milliseconds does nothing about what comes of it, like a
        // frozen tab.
        future::select(pin!(still.swap(None, Some(&theirs))), TimeoutFuture::new(step)).await;
        drop(still);
        let before = other.look().await;
        let after = other.swap(before.as_deref(), Some(&ours)).await;
        assert!(after == Some(ours) || (before.is_none() && after == Some(theirs)), "{before:?}, {after:?}");
    }
}

#[wasm_bindgen_test]
async fn a_write_by_another_tab_is_noticed() {
    let (heard, mut hears) = mpsc::unbounded();
    let here = Tab::that_notifies("test:watch", move || heard.unbounded_send(()).unwrap());
    let elsewhere = Tab::new("test:watch");
    Tab::new("test:another").swap(None, Some(&a(1))).await;
    elsewhere.swap(None, Some(&a(1))).await;
    within("the other tab's write", hears.next()).await.unwrap();
    here.look().await;
    let local = other_tab().local_storage().unwrap().unwrap();
    local.set_item("test:watch", &unlogged(&a(1))).unwrap();
    within("a write that the log has not", hears.next()).await.unwrap();
    local.remove_item("test:watch").unwrap();
    within("a removal", hears.next()).await.unwrap();
    drop(here);
    elsewhere.swap(Some(&a(1)), None).await;
    while within("the end", hears.next()).await.is_some() {}
}

#[wasm_bindgen_test]
async fn what_one_place_lost_the_other_restores() {
    let here = Tab::new("test:losses");
    here.swap(None, Some(&a(1))).await;
    local().remove_item("test:losses").unwrap();
    assert_eq!(Tab::new("test:losses").read().await, Some(a(1)), "the log is asked before anybody is shown a form");
    assert_eq!(in_local("test:losses"), Some(a(1)));
    within("the deletion", forget("test:losses")).await.unwrap();
    assert_eq!(here.swap(Some(&a(1)), Some(&a(2))).await, Some(a(2)), "opened again, and the text put back");
    local().set_item("test:losses", &a(1)).unwrap();
    assert_eq!(Tab::new("test:losses").look().await, Some(a(2)), "an older text");
    assert_eq!(in_local("test:losses"), Some(a(2)));
}

#[wasm_bindgen_test]
async fn what_lies_in_local_storage_alone_moves_in() {
    local().set_item("test:moves", &a(1)).unwrap();
    let (one, other) = (Tab::new("test:moves"), Tab::new("test:moves"));
    assert_eq!(future::join(one.look(), other.look()).await, (Some(a(1)), Some(a(1))));
    assert!(in_database("test:moves").await.contains(&key("A")));
}

#[wasm_bindgen_test]
async fn no_older_text_brings_back_what_was_removed() {
    let here = Tab::new("test:removed");
    here.swap(None, Some(&a(3))).await;
    here.swap(Some(&a(3)), None).await;
    for older in [a(3), a(9), record("B", 1), unlogged(&a(3))] {
        local().set_item("test:removed", &older).unwrap();
        assert_eq!(Tab::new("test:removed").look().await, None, "{older}");
        assert_eq!(in_local("test:removed"), None);
    }
}

#[wasm_bindgen_test]
async fn without_a_database_it_is_local_storage_and_what_is_new_there_counts_later() {
    for broken in [Sabotage::Missing, Sabotage::Refused, Sabotage::Silent] {
        let name = format!("test:{broken:?}");
        Tab::new(&name).swap(None, Some(&a(1))).await;
        let broken = Broken::new(broken);
        let here = Tab::new(&name);
        assert_eq!(here.read().await, Some(a(1)));
        assert_eq!(here.swap(Some(&a(1)), Some(&a(2))).await, Some(a(2)));
        assert!(in_local(&name).unwrap().contains(r#""generation":2"#));
        drop(broken);
        let next = Tab::new(&name).look().await.unwrap();
        assert!(next.contains(r#""generation":2"#), "{next}");
        assert!(!in_local(&name).unwrap().contains("unlogged"));
        let broken = Broken::new(Sabotage::Refused);
        let here = Tab::new(&name);
        assert_eq!(here.swap(Some(&next), None).await, None);
        drop(broken);
        assert_eq!(Tab::new(&name).read().await, None, "a logout that the log was not there to take");
        assert!(!in_database(&name).await.contains(&key("A")));
    }
}

#[wasm_bindgen_test]
async fn without_a_database_tabs_that_swap_at_once_all_see_the_last() {
    let _missing = Broken::new(Sabotage::Missing);
    let tabs: Vec<Tab> = (0..4).map(|_| Tab::new("test:settles")).collect();
    tabs[0].swap(None, Some(&a(1))).await;
    let swaps = tabs.iter().enumerate().map(|(number, tab)| {
        let (from, to) = (a(1), a(2).replace('}', &format!(r#","by":{number}}}"#)));
        async move {
            let after = tab.swap(Some(&from), Some(&to)).await.unwrap();
            (0..4).find(|by| after.contains(&format!(r#""by":{by}"#)))
        }
    });
    let by = within("the swaps", future::join_all(swaps)).await;
    assert!(by[0].is_some() && by.iter().all(|other| *other == by[0]), "they disagree on who was last: {by:?}");
}

#[wasm_bindgen_test]
async fn what_the_database_does_not_take_is_in_local_storage() {
    let (here, elsewhere) = (Tab::new("test:full"), Tab::new("test:full"));
    here.swap(None, Some(&a(1))).await;
    {
        let _full = Broken::new(Sabotage::Writes);
        assert_eq!(here.swap(Some(&a(1)), Some(&a(2))).await, Some(a(2)));
        assert!(here.look().await.unwrap().contains(r#""generation":2"#));
    }
    let moved = elsewhere.look().await.unwrap();
    assert!(moved.contains(r#""generation":2"#), "it is written once it can be: {moved}");
    assert!(in_database("test:full").await.contains(r#"\"generation\":2"#));
}

#[wasm_bindgen_test]
async fn without_local_storage_the_log_is_enough_and_without_both_memory() {
    let _refused = Broken::new(Sabotage::Local);
    let here = Tab::new("test:no-local");
    assert_eq!(here.swap(None, Some(&a(1))).await, Some(a(1)));
    assert_eq!(Tab::new("test:no-local").read().await, Some(a(1)));
    let _missing = Broken::new(Sabotage::Writes);
    assert_eq!(here.swap(Some(&a(1)), Some(&a(2))).await, Some(a(2)));
    assert_eq!(here.read().await.map(|text| text.contains(r#""generation":2"#)), Some(true));
}

#[wasm_bindgen_test]
async fn what_local_storage_has_no_room_for_is_removed_there() {
    let _missing = Broken::new(Sabotage::Missing);
    let here = Tab::new("test:local-full");
    here.swap(None, Some(&a(1))).await;
    // More than any browser's quota.
    let large = a(2).replace('}', &format!(r#","more":"{}"}}"#, "x".repeat(16 << 20)));
    assert_eq!(here.swap(Some(&a(1)), Some(&large)).await.map(|text| text.len()), Some(large.len()));
    assert_eq!(in_local("test:local-full"), None, "an older text would be taken for the newest");
    assert_eq!(here.swap(Some(&large), Some(&a(3))).await, Some(a(3)));
    assert!(in_local("test:local-full").unwrap().contains(r#""generation":3"#));
}

#[wasm_bindgen_test]
async fn a_database_of_the_former_version_carries_over() {
    let entry = |at: u32, from: u32, text: &str| format!(r#"{{"at":{at},"from":{from},"text":{text:?}}}"#);
    let entries = [entry(7, 5, &a(1)), entry(8, 7, &a(2)), entry(9, 7, &a(8))].join(",");
    within("the old database", make_old_database("test:old", &format!("[{entries}]"))).await.unwrap();
    assert_eq!(Tab::new("test:old").read().await, Some(a(2)));
    let all = in_database("test:old").await;
    assert_eq!(all.matches(&key("A")).count(), 1, "{all}");
    assert!(all.contains("a key pair") && !all.contains(r#""log""#), "{all}");

    let removed = r#"[{"at":3,"from":2,"text":null}]"#;
    within("the old database", make_old_database("test:old-none", removed)).await.unwrap();
    local().set_item("test:old-none", &a(1)).unwrap();
    assert_eq!(Tab::new("test:old-none").look().await, None, "a removal carries over as one");
}
