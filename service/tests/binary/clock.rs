//! The system's clock is set while the service runs, and between two runs; it is libfaketime that
//! sets it, for this process alone.

use std::{
    fs,
    path::{Path, PathBuf},
};

use relogin_tests::res::Res;
use serde_json::Value;

use crate::program::{Folder, Service};

/// A time of day that can be set.
struct FakeTime {
    library: String,
    file: PathBuf,
}

impl FakeTime {
    /// The system's own time.
    fn new(folder: &Folder) -> Self {
        let library = fs::read_dir("/usr/lib").unwrap().filter_map(Result::ok);
        let library = library
            .map(|entry| entry.path().join("faketime/libfaketimeMT.so.1"))
            .chain([PathBuf::from("/usr/lib/faketime/libfaketimeMT.so.1")])
            .find(|path| Path::exists(path))
            .expect("libfaketime must be installed: `cargo xtask setup` does it");
        let file = folder.path("time");
        let fake = Self { library: library.to_str().unwrap().to_owned(), file };
        fake.set("+0");
        fake
    }

    /// Sets it, relative to the system's time.
    fn set(&self, offset: &str) {
        fs::write(&self.file, offset).unwrap();
    }

    async fn serve(&self, folder: &Folder, options: &str) -> Service {
        let env = [
            ("LD_PRELOAD", self.library.as_str()),
            ("FAKETIME_TIMESTAMP_FILE", self.file.to_str().unwrap()),
            ("FAKETIME_NO_CACHE", "1"),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
        ];
        folder.serve_with(options, &env).await
    }
}

async fn login(service: &Service) -> (Res, Value) {
    let mut res = service.connect().await;
    let key = res.log_in("jane", "jane").await.unwrap()["reloginKey"].take();
    assert!(key.is_string());
    (res, key)
}

/// Uses a key, and returns its successor.
async fn relogin(on: &mut Res, key: &Value) -> Value {
    let next = on.relogin(key, None).await.unwrap().payload().unwrap()["reloginKey"].take();
    assert!(next.is_string(), "{next}");
    next
}

/// A jump of 26 hours, with keys that live for a day, and sessions for a month; and of three years,
/// as of a board without a battery.
#[tokio::test]
async fn a_clock_that_jumps_while_it_runs_ends_no_session() {
    let folder = Folder::new();
    let time = FakeTime::new(&folder);
    time.set("-1095d");
    let service = time.serve(&folder, "--demo --audit audit").await;
    let (mut res, mut key) = login(&service).await;
    for offset in ["+26h", "-1095d", "+0", "-26h"] {
        time.set(offset);
        // The audit trail has the time of day, and so shows that it was set.
        let before = fs::read_to_string(folder.path("audit")).unwrap().lines().count();
        key = relogin(&mut res, &key).await;
        while fs::read_to_string(folder.path("audit")).unwrap().lines().count() == before {
            tokio::task::yield_now().await;
        }
        // Expired sessions are disposed of whenever a deadline is set, as by another login.
        login(&service).await;
        assert_eq!(res.request("get.ticker.model", None).await.unwrap().code(), None, "{offset}");
        key = relogin(&mut res, &key).await;
    }
    service.stop().await;
    let trail = fs::read_to_string(folder.path("audit")).unwrap();
    let years: std::collections::HashSet<_> =
        trail.lines().map(|line| line.split_once(r#""time":""#).unwrap().1[..4].to_owned()).collect();
    assert!(years.len() >= 2, "the clock was set: {years:?}");
    assert!(!trail.contains("expired"), "{trail}");

    // Nor does one that is set between two runs, as long as the machine runs on.
    time.set("+90d");
    let service = time.serve(&folder, "--demo").await;
    relogin(&mut service.connect().await, &key).await;
    service.stop().await;
}
