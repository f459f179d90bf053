//! Cookie sessions, with and without a key of the browser's device, after a backup was restored.

use std::sync::Arc;

use relogin_bus::Bus;
use relogin_store::{Export, SessionStore, memory::MemoryStore};
use serde_json::{Value as Json, json};
use tokio::{join, sync::mpsc};

use super::{
    AUDIT,
    device::{Browser, pass, rig_over, status},
};
use crate::{
    backup::{Backup, BackupWriter},
    clock::tests::RuntimeClock,
    proof::tests::TestDevice,
};

async fn back_up(store: &MemoryStore) -> Vec<u8> {
    let mut writer = BackupWriter::begin(Vec::new(), 1, Vec::new()).unwrap();
    let (to, mut portions) = mpsc::channel::<Vec<Export>>(1);
    let writing = async {
        while let Some(portion) = portions.recv().await {
            portion.iter().for_each(|part| writer.exported(part).unwrap());
        }
    };
    join!(store.export(to), writing).0.unwrap();
    writer.end().unwrap().0
}

async fn restore(bytes: &[u8]) -> Arc<MemoryStore> {
    let store = Arc::new(MemoryStore::default());
    for record in Backup::read(|| Ok(bytes)).unwrap().sessions(bytes) {
        store.create(record.unwrap()).await.unwrap();
    }
    store
}

/// Uses the key in a browser's cookie, so that it gets the next one.
async fn goes_on(browser: &mut Browser<'_>, cid: &str) {
    pass(40).await;
    assert_eq!(status(&browser.refresh("").await), 204, "{cid}");
    assert_eq!(browser.connect(cid).await, json!(3), "{cid}");
}

async fn is_over(browser: &mut Browser<'_>, cid: &str) {
    pass(40).await;
    assert_eq!(status(&browser.refresh("").await), 401, "{cid}");
    assert_eq!(browser.connect(cid).await, json!(null), "{cid}");
}

#[tokio::test(start_paused = true)]
async fn after_a_restore_cookie_sessions_with_a_device_go_on_and_others_if_they_were_not_used() {
    let (store, clock) = (Arc::new(MemoryStore::default()), Arc::new(RuntimeClock::new()));
    let rig = rig_over(Arc::clone(&store), Arc::clone(&clock), true).await;
    let device = || Some(TestDevice::p256());
    let mut browsers = Vec::new();
    for (name, device) in [
        ("bound", device()),
        ("unused bound", device()),
        ("bound by a connection", device()),
        ("cookie", None),
        ("unused cookie", None),
        ("logged out", None),
    ] {
        let mut browser = Browser::new(&rig, device);
        browser.log_in(&name.replace(' ', "")).await;
        goes_on(&mut browser, &name.replace(' ', "")).await;
        browsers.push(browser);
    }
    let Ok([mut bound, unused_bound, mut connecting, mut cookie, unused_cookie, mut logged_out]) =
        <[Browser<'_>; 6]>::try_from(browsers)
    else {
        panic!("six browsers")
    };
    let backup = back_up(&store).await;

    // What is answered from here on is forgotten.
    for _ in 0..3 {
        goes_on(&mut bound, "bound").await;
        goes_on(&mut connecting, "boundbyaconnection").await;
        goes_on(&mut cookie, "cookie").await;
    }
    let (copied, mut lost) = (logged_out.copied(), Browser::new(&rig, None));
    logged_out.post("logout", &[]).await;
    lost.log_in("lost").await;

    let rig = rig_over(restore(&backup).await, clock, true).await;
    let mut trail = rig.bus.subscribe(&[AUDIT.to_owned()]).await.unwrap();
    let [mut bound, mut connecting] = [bound, connecting].map(|browser| browser.at(&rig));
    // Its cookies alone are worth as little as ever, and end nothing.
    pass(12 * 60).await;
    let mut thief = bound.copied();
    is_over(&mut thief, "thief").await;
    // By whichever request its browser comes first.
    assert_eq!(connecting.connect("first").await, json!(3));
    for _ in 0..3 {
        goes_on(&mut bound, "bound").await;
        goes_on(&mut connecting, "boundbyaconnection").await;
    }
    for browser in [unused_bound, unused_cookie] {
        let mut browser = browser.at(&rig);
        goes_on(&mut browser, "unused").await;
        goes_on(&mut browser, "unused").await;
    }
    is_over(&mut cookie.at(&rig), "cookie").await;
    is_over(&mut lost.at(&rig), "lost").await;
    // Whoever has its last key, as docs/operations.md says; its browser has none.
    goes_on(&mut copied.at(&rig), "copied").await;
    is_over(&mut logged_out.at(&rig), "another").await;

    let mut events = Vec::new();
    while events.iter().filter(|event| *event == "store_rolled_back").count() < 1 {
        let line: Json = serde_json::from_slice(&trail.next().await.unwrap().payload).unwrap();
        events.push(line["event"].as_str().unwrap().to_owned());
    }
    let count = |expected: &str| events.iter().filter(|event| *event == expected).count();
    assert_eq!((count("recovered"), count("reuse_detected")), (2, 0), "{events:?}");
}
