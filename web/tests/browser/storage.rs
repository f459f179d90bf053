//! The text that tabs share, in all the places that it can lie in.

use std::pin::pin;

use futures_channel::mpsc;
use futures_util::{StreamExt, future};
use gloo_timers::future::TimeoutFuture;
use wasm_bindgen_futures::JsFuture;
use wasm_bindgen_test::wasm_bindgen_test;

use crate::support::{Sabotage, forget, other_tab, sabotage, storage, storage_that_tells, within};

fn local_storage() -> web_sys::Storage {
    web_sys::window().unwrap().local_storage().unwrap().unwrap()
}

fn some(text: &str) -> Option<String> {
    Some(text.to_owned())
}

#[wasm_bindgen_test]
async fn a_text_is_exchanged_for_the_one_that_was_read() {
    let (mut one, mut other) = (storage("test:swap").await, storage("test:swap").await);
    assert_eq!(one.read().await, None);
    assert_eq!(one.swap(None, Some("one")).await, some("one"));
    assert_eq!(other.read().await, some("one"));
    assert_eq!(other.swap(None, Some("other")).await, some("one"), "what is there is not what was expected");
    assert_eq!(other.swap(Some("one"), Some("two")).await, some("two"));
    assert_eq!(one.swap(Some("one"), None).await, some("two"));
    assert_eq!(one.swap(Some("two"), None).await, None);
    assert_eq!(other.read().await, None);
    assert_eq!(other.swap(None, Some("again")).await, some("again"));
    assert_eq!(local_storage().get_item("test:swap").unwrap(), None, "the text is not where it can go stale");
}

#[wasm_bindgen_test]
async fn of_tabs_that_exchange_the_same_text_at_once_one_wins() {
    const TABS: usize = 8;
    let mut tabs = Vec::new();
    for _ in 0..TABS {
        tabs.push(storage("test:race").await);
    }
    let mut before = None;
    for round in 0..25 {
        let swaps = tabs.iter_mut().enumerate().map(|(number, tab)| {
            let (from, to) = (before.clone(), format!("{round} by {number}"));
            async move { tab.swap(from.as_deref(), Some(&to)).await }
        });
        let after = within("the swaps", future::join_all(swaps)).await;
        assert!(after[0].as_ref().is_some_and(|text| text.starts_with(&format!("{round} "))), "{after:?}");
        assert!(after.iter().all(|text| *text == after[0]), "they disagree on who was first: {after:?}");
        before.clone_from(&after[0]);
    }
}

#[wasm_bindgen_test]
async fn no_swap_is_lost_or_done_twice() {
    const TABS: u32 = 3;
    const SWAPS: u32 = 20;
    async fn count(tab: u32) {
        let mut storage = storage("test:count").await;
        for _ in 0..SWAPS {
            loop {
                let from = storage.read().await;
                let count = from.as_deref().map_or(0, |text| text.split(' ').next().unwrap().parse::<u32>().unwrap());
                let to = format!("{} by {tab}", count + 1);
                if storage.swap(from.as_deref(), Some(&to)).await == Some(to) {
                    break;
                }
            }
        }
    }
    within("the count", future::join_all((0..TABS).map(count))).await;
    let last = storage("test:count").await.read().await.unwrap();
    assert!(last.starts_with(&format!("{} by", TABS * SWAPS)), "{last}");
}

#[wasm_bindgen_test]
async fn a_tab_that_stops_in_the_middle_keeps_no_other_waiting() {
    for step in 0..12 {
        let name = format!("test:still-{step}");
        let (mut still, mut other) = (storage(&name).await, storage(&name).await);
        // It begins, and after so many milliseconds does nothing about what comes of it, like a tab that is frozen.
        future::select(pin!(still.swap(None, Some("still"))), TimeoutFuture::new(step)).await;
        drop(still);
        let before = within("a read", other.read()).await;
        let after = within("a swap", other.swap(before.as_deref(), Some("other"))).await;
        assert!(after == some("other") || (before.is_none() && after == some("still")), "{before:?}, {after:?}");
    }
}

#[wasm_bindgen_test]
async fn another_tab_is_heard_writing() {
    let (heard, mut hears) = mpsc::unbounded();
    let here = storage_that_tells("test:watch", move || heard.unbounded_send(()).unwrap()).await;
    let mut elsewhere = storage("test:watch").await;
    storage("test:another").await.swap(None, Some("no affair of ours")).await;
    elsewhere.swap(Some("nothing of the kind"), Some("nor this")).await;
    elsewhere.swap(None, Some("theirs")).await;
    within("the other tab's write", hears.next()).await.unwrap();
    elsewhere.swap(Some("theirs"), None).await;
    within("the other tab's removal", hears.next()).await.unwrap();
    assert!(hears.try_recv().is_err(), "two changes, told once each");
    drop(here);
    elsewhere.swap(None, Some("unheard")).await;
    assert!(within("the end", hears.next()).await.is_none(), "closed, it hears no more");
}

#[wasm_bindgen_test]
async fn what_lies_in_local_storage_moves_in() {
    local_storage().set_item("test:moves", "old").unwrap();
    let (mut one, mut other) = future::join(storage("test:moves"), storage("test:moves")).await;
    assert_eq!((one.read().await, other.read().await), (some("old"), some("old")));
    assert_eq!(local_storage().get_item("test:moves").unwrap(), None);
    one.swap(Some("old"), None).await;
    local_storage().set_item("test:moves", "older").unwrap();
    assert_eq!(storage("test:moves").await.read().await, None, "what was removed does not come back");
}

#[wasm_bindgen_test]
async fn what_the_database_does_not_take_lives_as_long_as_the_page() {
    let (mut here, mut elsewhere) = (storage("test:full").await, storage("test:full").await);
    here.swap(None, Some("one")).await;
    {
        let _full = sabotage(Sabotage::Writes);
        assert_eq!(here.swap(Some("one"), Some("two")).await, some("two"));
        assert_eq!(here.read().await, some("two"));
        assert_eq!(here.swap(Some("two"), Some("three")).await, some("three"));
    }
    assert_eq!(elsewhere.read().await, some("one"));
    assert_eq!(here.swap(Some("three"), Some("four")).await, some("four"));
    assert_eq!(elsewhere.read().await, some("four"), "it is written once it can be");
    {
        let _full = sabotage(Sabotage::Writes);
        here.swap(Some("four"), Some("here")).await;
    }
    elsewhere.swap(Some("four"), Some("elsewhere")).await;
    assert_eq!(here.read().await, some("elsewhere"), "what is written counts more than what is not");
}

#[wasm_bindgen_test]
async fn a_database_that_was_closed_is_opened_again() {
    let mut here = storage("test:deleted").await;
    here.swap(None, Some("one")).await;
    within("the deletion", JsFuture::from(forget("test:deleted"))).await.unwrap();
    assert_eq!(here.read().await, None);
    assert_eq!(here.swap(None, Some("two")).await, some("two"));
}

#[wasm_bindgen_test]
async fn without_indexed_db_it_is_local_storage() {
    for broken in [Sabotage::Missing, Sabotage::Refused, Sabotage::Silent] {
        let _broken = sabotage(broken);
        let mut here = storage("test:local").await;
        assert_eq!(here.read().await, None);
        assert_eq!(here.swap(None, Some("one")).await, some("one"));
        assert_eq!(local_storage().get_item("test:local").unwrap(), some("one"));
        local_storage().set_item("test:local", "two").unwrap();
        assert_eq!(here.read().await, some("two"), "it is read afresh each time");
        assert_eq!(here.swap(Some("one"), None).await, some("two"));
        assert_eq!(here.swap(Some("two"), None).await, None);
        assert_eq!(local_storage().get_item("test:local").unwrap(), None);
    }
}

#[wasm_bindgen_test]
async fn what_local_storage_does_not_take_lives_as_long_as_the_page() {
    let _missing = sabotage(Sabotage::Missing);
    let mut here = storage("test:local-full").await;
    here.swap(None, Some("small")).await;
    // More than any browser's quota.
    let large = "x".repeat(16 << 20);
    here.swap(Some("small"), Some(&large)).await;
    assert!(here.read().await.is_some_and(|text| text == large), "the newest text counts, not the one that fits");
    here.swap(Some(&large), Some("small again")).await;
    assert_eq!(local_storage().get_item("test:local-full").unwrap().as_deref(), Some("small again"));
    here.swap(Some("small again"), None).await;
    assert_eq!(here.read().await, None);
}

#[wasm_bindgen_test]
async fn another_tab_is_heard_writing_to_local_storage() {
    let _missing = sabotage(Sabotage::Missing);
    let (heard, mut hears) = mpsc::unbounded();
    let mut here = storage_that_tells("test:local-watch", move || heard.unbounded_send(()).unwrap()).await;
    let elsewhere = other_tab().local_storage().unwrap().unwrap();
    elsewhere.set_item("test:another-entry", "no affair of ours").unwrap();
    elsewhere.set_item("test:local-watch", "theirs").unwrap();
    within("the other tab's write", hears.next()).await.unwrap();
    assert_eq!(here.read().await, some("theirs"), "the first that is heard of is the entry that is watched");
    elsewhere.remove_item("test:local-watch").unwrap();
    within("the other tab's removal", hears.next()).await.unwrap();
    drop(here);
    elsewhere.set_item("test:local-watch", "unheard").unwrap();
    assert!(within("the end", hears.next()).await.is_none(), "closed, it hears no more");
    elsewhere.remove_item("test:local-watch").unwrap();
}
