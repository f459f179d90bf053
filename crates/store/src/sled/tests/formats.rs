//! Folders of earlier and of later versions. `format-N.gz` is a folder as the first version of
//! format N has left it when it was killed; the one of a new format is made by
//! `UPDATE_EXPECT=1 cargo test -p relogin-store formats`.

use std::{
    fs,
    io::{Read, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use flate2::{Compression, read::GzDecoder, write::GzEncoder};
use relogin_session::Record;
use tempfile::TempDir;

use super::{
    super::{
        database::{self, Database},
        format::FORMAT,
        repair,
        vfs::{Disk, Fs},
    },
    SessionStore, SledStore, StoreError,
    contract::{cid, record, sid},
    power::{contents, copy_at_rest},
    wal::Sizes,
};

/// So that what is kept here is small.
const TINY: Sizes = Sizes {
    segment: 16 << 10,
    for_each_session: 0,
    shortest: 32 << 10,
    longest: 32 << 10,
    slack: 32 << 10,
    ..Sizes::USUAL
};

/// Two sessions in sled, and one more and the end of another in the write-ahead log of a store that
/// was killed.
async fn killed() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let open = || SledStore::open_with(folder.path(), Arc::new(Disk), TINY).unwrap();
    let store = open();
    for n in 1..=3 {
        store.create(record(n, &[&format!("c{n}")])).await.unwrap();
    }
    store.close().await.unwrap();
    let store = open();
    let ended = store.load(sid(2)).await.unwrap().unwrap();
    store.remove(sid(2), ended.revision).await.unwrap();
    store.create(record(4, &["c4"])).await.unwrap();
    let copy = copy_at_rest(folder.path());
    store.close().await.unwrap();
    copy
}

/// The text of a folder: for each file a line with its length and path, then its content.
fn pack(folder: &Path, to: &Path) {
    let mut packed = GzEncoder::new(fs::File::create(to).unwrap(), Compression::best());
    for (path, content) in contents(folder) {
        writeln!(packed, "{} {}", content.len(), path.display()).unwrap();
        packed.write_all(&content).unwrap();
    }
    packed.finish().unwrap().sync_all().unwrap();
}

fn unpack(from: &Path) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let mut packed = Vec::new();
    GzDecoder::new(fs::File::open(from).unwrap()).read_to_end(&mut packed).unwrap();
    let mut rest = packed.as_slice();
    while !rest.is_empty() {
        let end = rest.iter().position(|byte| *byte == b'\n').unwrap();
        let (length, path) = std::str::from_utf8(&rest[..end]).unwrap().split_once(' ').unwrap();
        let (content, after) = rest[end + 1..].split_at(length.parse().unwrap());
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
        rest = after;
    }
    folder
}

async fn kept(format: u32) -> TempDir {
    let path = PathBuf::from(format!("{}/src/sled/tests/format-{format}.gz", env!("CARGO_MANIFEST_DIR")));
    if format == FORMAT && !path.exists() && std::env::var_os("UPDATE_EXPECT").is_some() {
        pack(killed().await.path(), &path);
    }
    unpack(&path)
}

fn marker(folder: &Path) -> String {
    fs::read_to_string(folder.join("format")).unwrap()
}

async fn is_as_it_was_killed(folder: &Path) {
    assert!(repair::check(folder).unwrap().is_sound());
    for _ in 0..2 {
        let store = SledStore::open(folder).unwrap();
        for n in [1, 3, 4] {
            let on = format!("c{n}");
            let found = store.find_by_connection(&cid(&on)).await.unwrap().unwrap();
            assert_eq!(found.record, record(n, &[&on]));
        }
        assert_eq!(store.load(sid(2)).await.unwrap(), None);
        store.close().await.unwrap();
    }
    assert_eq!(marker(folder), format!("relogin-sessions {FORMAT} {}\n", env!("CARGO_PKG_VERSION")));
}

#[tokio::test]
async fn a_folder_of_each_format_is_opened_and_upgraded() {
    for format in 1..=FORMAT {
        let folder = kept(format).await;
        assert!(marker(folder.path()).starts_with(&format!("relogin-sessions {format} ")));
        is_as_it_was_killed(folder.path()).await;
    }
    // From before there were markers.
    let folder = kept(1).await;
    fs::remove_file(folder.path().join("format")).unwrap();
    is_as_it_was_killed(folder.path()).await;
}

/// A record of format 1, as `relogin_session` has it in its tests.
const V1: &str = "AaWlpaWlpaWlpaWlpaWlpaUAzkmA2MGijDTAp+aijDSAkNvLjDSA6Lz2lTSQAVpaWlpaWlpaWlpaWlpaWloCFGNxM2JkNWg4c21naWhmMzdsb2EwFGNxM2JkNWg4c21naWhmMzdsb2FnAAFlTW96aWxsYS81LjAgKFgxMTsgTGludXggeDg2XzY0KSBBcHBsZVdlYktpdC81MzcuMzYgKEtIVE1MLCBsaWtlIEdlY2tvKSBDaHJvbWUvMTQwLjAuMC4wIFNhZmFyaS81MzcuMzYBEjIwMy4wLjExMy43Nzo1MTQyMwAAFGNxM2JkNWg4c21naWhmMzdsb2FnAQMDAwMDAwMDAwMDAwMDAwM=";

#[tokio::test]
async fn records_of_earlier_versions_are_read_and_the_folder_marked() {
    let folder = kept(1).await;
    SledStore::open(folder.path()).unwrap().close().await.unwrap();
    for made in ["format", "index"] {
        fs::remove_file(folder.path().join(made)).unwrap();
    }
    let fs = Fs::new(Arc::new(Disk));
    let mut database = Database::open(folder.path(), &fs, database::lock(folder.path(), &fs).unwrap()).unwrap();
    database.reserve().unwrap();
    let bytes = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, V1).unwrap();
    let sid = relogin_session::SessionId([0xa5; 16]);
    database.apply(sid, Some(&[&7_u64.to_be_bytes()[..], &bytes].concat())).unwrap();
    database.sync().unwrap();
    database.close().unwrap();
    let store = SledStore::open(folder.path()).unwrap();
    let stored = store.load(sid).await.unwrap().unwrap();
    assert_eq!((stored.record.sid, stored.record.generation, stored.revision.0), (sid, 144, 7));
    let next = Record { generation: 145, ..stored.record.clone() };
    store.replace(next, stored.revision).await.unwrap();
    store.close().await.unwrap();
    assert!(marker(folder.path()).starts_with(&format!("relogin-sessions {FORMAT} ")));
}

#[tokio::test]
async fn a_folder_of_a_later_version_is_refused_by_name_and_left_as_it_is() {
    let folder = killed().await;
    fs::write(folder.path().join("format"), format!("relogin-sessions {} 9.9.9\n", FORMAT + 1)).unwrap();
    // What that version may have written, and this one would call damage.
    fs::write(folder.path().join("index"), "another format").unwrap();
    let before = contents(folder.path());
    let refusals = [
        SledStore::open(folder.path()).map(drop),
        repair::check(folder.path()).map(drop),
        repair::repair(folder.path(), true).map(drop),
    ];
    for refused in refusals {
        let Err(error @ StoreError::Newer { .. }) = refused else { panic!("{refused:?}") };
        let (own, folder) = (env!("CARGO_PKG_VERSION"), folder.path().display());
        assert_eq!(
            error.to_string(),
            format!(
                "{folder} has format {}, of relogin 9.9.9, and this is relogin {own}, which knows formats up to \
                 {FORMAT}; start relogin 9.9.9 or later, or restore a backup from before the upgrade into another \
                 folder",
                FORMAT + 1
            )
        );
    }
    assert_eq!(contents(folder.path()), before);
}

#[tokio::test]
async fn a_marker_that_is_none_is_damage_that_a_repair_mends() {
    let folder = killed().await;
    fs::write(folder.path().join("format"), "?").unwrap();
    let Err(StoreError::Damaged(path, _)) = SledStore::open(folder.path()) else { panic!("opened") };
    assert_eq!(path, folder.path().join("format"));
    let data = tempfile::tempdir().unwrap();
    fs::rename(folder.path(), data.path().join("sessions")).unwrap();
    let repaired = repair::repair(&data.path().join("sessions"), false).unwrap();
    assert_eq!((repaired.report.whole, repaired.report.lost.len()), (3, 0), "{:?}", repaired.report);
    is_as_it_was_killed(&data.path().join("sessions")).await;
}
