//! Damage of all kinds, and what `relogin store check` and `relogin store repair` make of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::PathBuf,
};

use relogin_session::{Record, SessionId, UserId};
use tempfile::TempDir;

use super::{
    super::{
        Damage,
        repair::{self, Report},
    },
    SessionStore, SledStore, StoreError,
    contract::record,
    power::{contents, copy_all, copy_at_rest},
};

/// What must be there, by session.
type Model = BTreeMap<SessionId, Record>;

fn sid(n: u16) -> SessionId {
    let mut sid = [3; 16];
    sid[..2].copy_from_slice(&n.wrapping_mul(40_503).to_be_bytes());
    SessionId(sid)
}

/// Sessions in sled, some of them changed or ended there, and others changed, made or ended in the
/// write-ahead log of a service that was killed. In a folder of its own, as `data/sessions`.
async fn killed() -> (TempDir, Model) {
    let data = tempfile::tempdir().unwrap();
    let mut model = Model::new();
    let mut store = SledStore::open(&data.path().join("sessions")).unwrap();
    for step in 0..4_u16 {
        for n in (0..240).filter(|n| step == 0 || n % 7 == step) {
            let stored = store.load(sid(n)).await.unwrap();
            let connection = format!("c{n}");
            let next = Record {
                sid: sid(n),
                generation: u64::from(step) + 1,
                user_id: UserId::Number(i64::from(n)),
                ..record(1, &[&connection])
            };
            match stored {
                Some(stored) if n % 5 == 0 => {
                    store.remove(sid(n), stored.revision).await.unwrap();
                    model.remove(&sid(n));
                    continue;
                }
                Some(stored) => drop(store.replace(next.clone(), stored.revision).await.unwrap()),
                None => drop(store.create(next.clone()).await.unwrap()),
            }
            model.insert(sid(n), next);
        }
        // The last step stays in the write-ahead log.
        if step < 3 {
            store.close().await.unwrap();
            store = SledStore::open(&data.path().join("sessions")).unwrap();
        }
    }
    let copy = copy_at_rest(data.path());
    store.close().await.unwrap();
    (copy, model)
}

fn copy(of: &TempDir) -> TempDir {
    let copy = tempfile::tempdir().unwrap();
    copy_all(of.path(), copy.path());
    copy
}

fn folder(data: &TempDir) -> PathBuf {
    data.path().join("sessions")
}

fn lost(report: &Report) -> BTreeSet<SessionId> {
    report.lost.iter().map(|lost| lost.sid).collect()
}

/// Opens what was repaired: it has what was not lost, as it was, nothing else, and can be written.
async fn holds(data: &TempDir, model: &Model, lost: &BTreeSet<SessionId>, context: &str) {
    let store = SledStore::open(&folder(data)).unwrap_or_else(|error| panic!("{context}: {error:?}"));
    let other = Record { user_id: UserId::Text("other".into()), ..record(9, &["other"]) };
    for n in 0..240 {
        let expected = model.get(&sid(n)).filter(|_| !lost.contains(&sid(n)));
        let found = store.load(sid(n)).await.unwrap_or_else(|error| panic!("{context}: {n}: {error:?}"));
        assert_eq!(found.as_ref().map(|stored| &stored.record), expected, "{context}: {n}");
        let users = store.find_by_user(&UserId::Number(i64::from(n))).await.unwrap();
        assert_eq!(users.len(), usize::from(expected.is_some()), "{context}: {n}");
    }
    store.create(other).await.unwrap();
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_sound_store_is_reported_sound_and_left_unchanged() {
    let (data, model) = killed().await;
    let before = contents(data.path());
    let report = repair::check(&folder(&data)).unwrap();
    assert!(report.is_sound() && report.whole == model.len(), "{report:?}");
    let repaired = repair::repair(&folder(&data), false).unwrap();
    assert!(repaired.aside.is_none() && repaired.report.is_sound());
    assert!(contents(data.path()) == before);
    holds(&data, &model, &BTreeSet::new(), "sound").await;
    // And after a stop in order, and never used.
    assert!(repair::check(&folder(&data)).unwrap().is_sound());
    let fresh = tempfile::tempdir().unwrap();
    SledStore::open(&folder(&fresh)).unwrap().close().await.unwrap();
    assert!(repair::check(&folder(&fresh)).unwrap().is_sound());
}

#[tokio::test]
async fn a_store_in_use_is_neither_checked_nor_repaired() {
    let (data, _) = killed().await;
    let store = SledStore::open(&folder(&data)).unwrap();
    assert!(matches!(repair::check(&folder(&data)), Err(StoreError::InUse(_))));
    assert!(matches!(repair::repair(&folder(&data), false), Err(StoreError::InUse(_))));
    store.close().await.unwrap();
    let nothing = data.path().join("nothing");
    assert!(matches!(repair::check(&nothing), Err(StoreError::Damaged(_, Damage::Missing))));
    assert!(!nothing.exists());
}

#[tokio::test]
async fn after_one_flipped_bit_in_the_database_all_but_a_few_are_kept() {
    let (whole, model) = killed().await;
    let length = fs::read(folder(&whole).join("sessions/db")).unwrap().len();
    let (mut damaged, mut refused) = (0, 0);
    for n in 0..30_usize {
        let data = copy(&whole);
        let path = folder(&data).join("sessions/db");
        let mut bytes = fs::read(&path).unwrap();
        // All over the file, and from its beginning on, where sled looks first.
        let at = if n < 10 { n * 11 } else { n * length / 30 };
        bytes[at] ^= 1 << (n % 8);
        fs::write(&path, &bytes).unwrap();
        let context = format!("a flip at {at} of {length}");
        let before = contents(data.path());
        let checked = repair::check(&folder(&data)).unwrap();
        assert!(contents(data.path()) == before, "{context}: a check changes nothing");
        if checked.is_sound() {
            // A place that nothing stands in.
            holds(&data, &model, &BTreeSet::new(), &context).await;
            continue;
        }
        damaged += 1;
        refused += usize::from(SledStore::open(&folder(&copy(&data))).is_err());
        assert!(
            checked.lost.len() <= 20 && checked.whole + checked.lost.len() == model.len(),
            "{context}: {checked:?}"
        );
        let repaired = repair::repair(&folder(&data), false).unwrap();
        assert_eq!((repaired.report.whole, lost(&repaired.report)), (checked.whole, lost(&checked)), "{context}");
        assert_eq!(fs::read(repaired.aside.unwrap().join("sessions/db")).unwrap(), bytes, "{context}");
        assert!(repair::check(&folder(&data)).unwrap().is_sound(), "{context}");
        holds(&data, &model, &lost(&checked), &context).await;
    }
    println!("damaged: {damaged}, of these refused at start: {refused}");
    assert!(damaged >= 5 && refused >= 1, "{damaged} {refused}");
}

#[tokio::test]
async fn a_database_that_is_gone_or_cut_is_repaired_as_far_as_it_goes() {
    let (whole, model) = killed().await;
    for kept in [0, 1, 9_000, 60_000] {
        let data = copy(&whole);
        let path = folder(&data).join("sessions/db");
        let bytes = fs::read(&path).unwrap();
        if kept == 0 {
            fs::remove_file(&path).unwrap();
        } else {
            fs::write(&path, &bytes[..kept]).unwrap();
        }
        let report = repair::repair(&folder(&data), false).unwrap().report;
        assert!(!report.is_sound() && report.whole + report.lost.len() == model.len(), "{report:?}");
        holds(&data, &model, &lost(&report), &format!("cut to {kept}")).await;
    }
}

#[tokio::test]
async fn a_missing_wal_file_is_named_and_the_rest_kept() {
    let (whole, model) = killed().await;
    let data = copy(&whole);
    let wal = folder(&data).join("journal");
    let holds_frames = |path: &PathBuf| {
        path.file_name().unwrap().to_str().unwrap().parse::<u64>().is_ok()
            && fs::read(path).unwrap().iter().any(|byte| *byte != 0)
    };
    let gone = fs::read_dir(&wal).unwrap().map(|entry| entry.unwrap().path()).find(holds_frames).unwrap();
    fs::remove_file(&gone).unwrap();
    match SledStore::open(&folder(&data)) {
        Err(StoreError::Damaged(file, Damage::Missing)) => assert_eq!(file, gone),
        other => panic!("{:?}", other.map(drop)),
    }
    let report = repair::check(&folder(&data)).unwrap();
    assert!(matches!(&report.damage[..], [StoreError::Damaged(file, Damage::Missing)] if *file == gone), "{report:?}");
    repair::repair(&folder(&data), false).unwrap();
    // All that the write-ahead log did not have is there, and what it had is as it was before.
    let store = SledStore::open(&folder(&data)).unwrap();
    for n in (0..240).filter(|n| n % 7 != 3) {
        let found = store.load(sid(n)).await.unwrap();
        assert_eq!(found.as_ref().map(|stored| &stored.record), model.get(&sid(n)), "{n}");
    }
    store.close().await.unwrap();
}

#[tokio::test]
async fn sessions_that_may_have_ended_are_kept_only_on_request() {
    let (data, model) = killed().await;
    let flip = |name: &str, at: usize| {
        let path = folder(&data).join(name);
        let mut bytes = fs::read(&path).unwrap();
        bytes[at] ^= 1;
        fs::write(path, bytes).unwrap();
    };
    flip("index", 50);
    // What sled reads first at each start: so it reads nothing.
    for entry in fs::read_dir(folder(&data).join("sessions")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if name.starts_with("snap.") {
            flip(&format!("sessions/{name}"), 9);
        }
    }
    let report = repair::check(&folder(&data)).unwrap();
    let in_wal = (0..240).filter(|n| n % 7 == 3 && model.contains_key(&sid(*n))).count();
    assert_eq!(report.whole, in_wal, "{report:?}");
    assert!(report.unverified + in_wal >= model.len(), "{report:?}");
    let (strict, generous) = (copy(&data), copy(&data));
    let strictly = repair::repair(&folder(&strict), false).unwrap().report;
    assert_eq!((strictly.whole, strictly.unverified), (in_wal, report.unverified));
    let generously = repair::repair(&folder(&generous), true).unwrap().report;
    assert_eq!(generously.whole, in_wal + report.unverified);
    let store = SledStore::open(&folder(&generous)).unwrap();
    for (sid, record) in &model {
        assert_eq!(&store.load(*sid).await.unwrap().unwrap().record, record);
    }
    store.close().await.unwrap();
}
