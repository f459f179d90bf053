//! Users files that change, are emptied, truncated or removed, in virtual time.

use std::{
    fs,
    path::Path,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::SystemTime,
};

use async_trait::async_trait;
use proptest::prelude::*;
use relogin_host::disk;

use super::*;
use crate::{Credentials, PasswordCheck, UserChange, UserDirectory, password::PasswordChecks, shared::Kept};

const HASH: &str = "$argon2id$v=19$m=8,t=1,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

fn entry(id: u8) -> String {
    format!("[[user]]\nid = {id}\nusername = \"u{id}\"\nname = \"N\"\nrole = \"user\"\npassword = \"{HASH}\"\n")
}

/// One with a role and a salt of its own, as long as any other.
fn another(id: u8) -> String {
    let salt = char::from(b'A' + id).to_string().repeat(20);
    entry(id).replace("\"user\"", &format!("\"r{id}\"")).replace("$AAAAAAAAAAAAAAAAAAAAAA$", &format!("${salt}AA$"))
}

fn list(ids: impl IntoIterator<Item = u8>) -> String {
    ids.into_iter().map(entry).collect()
}

/// Writes down what it is notified of, unless it is to fail.
#[derive(Default)]
struct Listener {
    told: Mutex<Vec<String>>,
    fails: AtomicBool,
}

#[async_trait]
impl UserListener for Listener {
    async fn user_changed(&self, change: &UserChange) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        if self.fails.load(SeqCst) {
            return Err("out of order".into());
        }
        let what = if change.is_password_new { "password" } else { "change" };
        self.told.lock().unwrap().push(format!("{} {what}", change.id));
        Ok(())
    }
}

/// A follower of a file, and what came of it.
struct Following {
    directory: Arc<ListDirectory>,
    listener: Arc<Listener>,
    task: tokio::task::JoinHandle<()>,
    looks: mpsc::Sender<LookRequest>,
}

impl Following {
    fn start(path: &Path, known: &Path) -> Self {
        Self::begin(Follower::open(path.to_owned(), Some(known.to_owned()), true).unwrap())
    }

    fn begin(follower: Follower) -> Self {
        let directory = Arc::new(ListDirectory::new(follower.users(), PasswordChecks::bounded(1, 1)));
        directory.exchange_keeping(follower.users(), follower.kept());
        let listener = Arc::<Listener>::default();
        let (looks, asked) = mpsc::channel(1);
        let task = tokio::spawn(follower.follow(directory.clone(), listener.clone(), asked));
        Self { directory, listener, task, looks }
    }

    /// Looks now, and returns the result.
    async fn look(&self) -> Result<usize, String> {
        let (request, answer) = oneshot::channel();
        self.looks.send(request).await.unwrap();
        answer.await.unwrap()
    }

    /// Looks at the file this many times, a second apart; the follower looks as often by itself.
    async fn looks(&self, seconds: u32) {
        for _ in 0..seconds {
            tokio::time::advance(Duration::from_secs(1)).await;
            self.look().await.ok();
        }
        // What the last one found is announced before the next.
        self.look().await.ok();
    }

    /// Lets time pass until a condition holds. Reading files takes real time, which virtual time
    /// does not include.
    async fn until(&self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let deadline = std::time::Instant::now() + Duration::from_secs(10);
        while !is_so(self) {
            assert!(std::time::Instant::now() < deadline, "{what}");
            tokio::time::advance(Duration::from_millis(500)).await;
            tokio::task::yield_now().await;
        }
    }

    fn notified(&self) -> Vec<String> {
        self.listener.told.lock().unwrap().clone()
    }

    async fn is_notified_of(&self, expected: &[&str]) {
        self.until(&format!("{expected:?}"), |this| this.notified() == expected).await;
    }

    /// Who may go on with a session.
    async fn live(&self) -> Vec<u8> {
        let mut live = Vec::new();
        for id in 0..20 {
            if self.directory.find(&UserId::Number(id.into())).await.unwrap().is_some() {
                live.push(id);
            }
        }
        live
    }

    /// Who may log in, by name.
    fn listed(&self) -> Vec<String> {
        let users = self.directory.users();
        let enabled = users.entries().iter().filter(|entry| !entry.is_disabled);
        let mut names: Vec<_> = enabled.map(|entry| entry.username.clone()).collect();
        names.sort();
        names
    }

    /// Ends it once what is known is written down.
    async fn stop(self, known: &Path) {
        let now = LastSeenUsers::of(&self.directory.users());
        self.until("saved", |_| LastSeenUsers::load(known).is_ok_and(|known| known == now)).await;
        self.task.abort();
    }
}

struct Files {
    _folder: tempfile::TempDir,
    path: PathBuf,
    known: PathBuf,
}

impl Files {
    fn new(text: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (path, known) = (folder.path().join("users.toml"), folder.path().join("users.known"));
        fs::write(&path, text).unwrap();
        Self { _folder: folder, path, known }
    }

    fn write(&self, text: &str) {
        fs::write(&self.path, text).unwrap();
    }

    fn change(&self, from: &str, to: &str) {
        self.write(&fs::read_to_string(&self.path).unwrap().replace(from, to));
    }

    fn follow(&self) -> Following {
        Following::start(&self.path, &self.known)
    }
}

#[tokio::test(start_paused = true)]
async fn directory_and_sessions_follow_the_file_over_a_restart_too() {
    let files = Files::new(&list([1]));
    let following = files.follow();
    files.change("\"u1\"", "\"john\"");
    following.until("another name", |this| this.listed() == ["john"]).await;
    // A name to log in with is nothing that a session shows.
    files.change("\"user\"", "\"admin\"");
    following.is_notified_of(&["1 change"]).await;
    files.change("$AAAAAAAAAAAAAAAAAAAAAA$", "$BAAAAAAAAAAAAAAAAAAAAA$");
    following.is_notified_of(&["1 change", "1 password"]).await;
    following.stop(&files.known).await;

    // While the service is away.
    files.change("name = \"N\"", "name = \"M\"\ndisabled = true");
    let following = files.follow();
    following.is_notified_of(&["1 change"]).await;
    following.stop(&files.known).await;
    let following = files.follow();
    following.stop(&files.known).await;
}

#[tokio::test(start_paused = true)]
async fn a_change_that_could_not_be_applied_is_applied_later() {
    let files = Files::new(&list([1, 2]));
    let following = files.follow();
    following.until("saved", |_| files.known.exists()).await;
    let before = fs::read(&files.known).unwrap();
    following.listener.fails.store(true, SeqCst);
    files.write(&list([2]));
    following.until("removed", |this| this.listed() == ["u2"]).await;
    // The next look comes only after the notification by this one.
    following.look().await.unwrap();
    assert_eq!(fs::read(&files.known).unwrap(), before, "a restart would repeat it");
    following.listener.fails.store(false, SeqCst);
    following.is_notified_of(&["1 change"]).await;
    following.stop(&files.known).await;
}

/// `cp`, `>` and editors leave the file empty for a moment.
#[tokio::test(start_paused = true)]
async fn a_file_that_is_empty_or_gone_for_a_while_ends_no_session_and_keeps_no_one_out() {
    let files = Files::new(&list([1, 2]));
    let following = files.follow();
    for text in ["", "# nobody\n", "[[user]\n", "removed = [1]\n"] {
        files.write(text);
        following.looks(30).await;
        assert_eq!(
            (following.live().await, following.listed()),
            (vec![1, 2], vec!["u1".into(), "u2".into()]),
            "{text:?}"
        );
        files.write(&list([1, 2]));
        following.looks(1).await;
    }
    fs::remove_file(&files.path).unwrap();
    following.looks(30).await;
    assert!(following.look().await.unwrap_err().contains("No such file"));
    assert_eq!(following.live().await, [1, 2]);
    files.write(&list([1, 2]));
    following.looks(30).await;
    assert_eq!(following.notified(), [""; 0]);
    files.write(&list([1]));
    following.is_notified_of(&["2 change"]).await;
    assert_eq!(following.live().await, [1]);
}

/// The same with a restart at the wrong moment.
#[tokio::test(start_paused = true)]
async fn a_start_with_an_empty_missing_or_partial_file_ends_no_session() {
    let files = Files::new(&list([1, 2]));
    files.follow().stop(&files.known).await;
    for cut in [Some(""), None, Some(&*list([1]))] {
        match cut {
            Some(text) => files.write(text),
            None => fs::remove_file(&files.path).unwrap(),
        }
        let following = files.follow();
        assert_eq!(following.live().await, [1, 2], "before the first look: {cut:?}");
        following.looks(3).await;
        assert_eq!((following.live().await, following.notified()), (vec![1, 2], vec![]), "{cut:?}");
        files.write(&list([1, 2]));
        following.looks(30).await;
        assert_eq!((following.live().await, following.notified()), (vec![1, 2], vec![]), "{cut:?}");
        assert_eq!(following.listed(), ["u1", "u2"]);
        following.stop(&files.known).await;
    }
    files.write(&list([2]));
    let following = files.follow();
    following.is_notified_of(&["1 change"]).await;
    assert_eq!(following.live().await, [2]);
}

/// A file that arrives in pieces, each of which is a list.
#[tokio::test(start_paused = true)]
async fn while_a_file_arrives_nobody_is_removed_however_long_it_takes() {
    let files = Files::new(&list(1..=9));
    let following = files.follow();
    for count in 0..=9 {
        files.write(&list(1..=count));
        following.looks(4).await;
        assert_eq!((following.live().await, following.listed().len()), ((1..=9).collect(), 9), "{count}");
    }
    assert_eq!(following.notified(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn restrictions_count_at_once_and_lifting_them_once_the_file_is_settled() {
    let files = Files::new(&list([1, 2, 3]));
    let following = files.follow();
    files.write(
        &(list([1])
            + "disabled = true\n"
            + &list([2])
            + &entry(3).replace("$AAAAAAAAAAAAAAAAAAAAAA$", "$BAAAAAAAAAAAAAAAAAAAAA$")),
    );
    following.looks(2).await;
    let mut told = following.notified();
    told.sort();
    assert_eq!(
        (told, following.listed()),
        (vec!["1 change".into(), "3 password".into()], vec!["u2".into(), "u3".into()])
    );
    // Cut off before "disabled = true".
    files.write(&list([1]));
    following.looks(4).await;
    assert_eq!(following.listed(), ["u2", "u3"], "those behind the cut");
    files.write(&list([1, 2, 3]));
    following.looks(4).await;
    assert_eq!(following.listed(), ["u2", "u3"]);
    following.looks(3).await;
    assert_eq!(following.listed(), ["u1", "u2", "u3"]);
    files.write(&list([1, 2, 3, 4]));
    following.looks(2).await;
    assert_eq!(following.listed(), ["u1", "u2", "u3", "u4"], "a new user");
}

#[tokio::test(start_paused = true)]
async fn half_a_line_does_not_make_a_user() {
    let files = Files::new(&list([1]));
    let following = files.follow();
    let twelve = "[[user]]\nusername = \"u12\"\nname = \"N\"\nrole = \"user\"\n".to_owned()
        + &format!("password = \"{HASH}\"\nid = 12");
    files.write(&(list([1]) + &twelve[..twelve.len() - 1]));
    following.looks(4).await;
    assert_eq!(following.live().await, [1], "not 1 twice, and nobody else");
    files.write(&(list([1]) + &twelve));
    following.looks(4).await;
    assert_eq!(following.live().await, [1]);
    following.looks(2).await;
    assert_eq!(following.live().await, [1, 12], "somebody's editor writes no last line end");
}

#[tokio::test(start_paused = true)]
async fn a_user_removed_by_name_is_out_at_once_even_the_last_one() {
    let files = Files::new(&list([1, 2]));
    let following = files.follow();
    crate::edit::remove(&files.path, "u1").unwrap();
    following.looks(1).await;
    assert_eq!((following.live().await, following.notified()), (vec![2], vec!["1 change".into()]));
    crate::edit::remove(&files.path, "u2").unwrap();
    following.looks(1).await;
    assert_eq!((following.live().await, following.notified().len()), (vec![], 2));
}

/// Not even by a program that writes all the time.
#[tokio::test(start_paused = true)]
async fn a_file_that_is_written_into_all_the_time_is_looked_at_after_a_minute() {
    let files = Files::new(&list([1, 2]));
    let following = files.follow();
    for second in 0..65 {
        files.write(&format!("{}disabled = true\n# {second}\n", list([1, 2])));
        following.looks(1).await;
    }
    assert_eq!((following.listed(), following.notified()), (vec!["u1".to_owned()], vec!["2 change".to_owned()]));
}

/// Hashes that are renewed by logins, or users who are added by a program, all the time.
#[tokio::test(start_paused = true)]
async fn a_file_that_is_replaced_all_the_time_does_not_keep_the_removed_in() {
    let files = Files::new(&list([1, 2]));
    let following = files.follow();
    for count in 3..13 {
        disk::replace(&files.path, list(2..=count).as_bytes()).unwrap();
        following.looks(1).await;
    }
    assert_eq!(following.notified(), ["1 change"]);
}

#[tokio::test(start_paused = true)]
async fn a_user_missing_for_a_moment_can_still_log_in() {
    let files = Files::new(&list([1, 2]));
    let following = files.follow();
    files.write(&list([1]));
    following.looks(2).await;
    let password = relogin_session::Secret::new("x".to_owned());
    let credentials = Credentials { username: "u2", password: &password, remote_addr: None };
    let verdict = following.directory.verify(credentials, &|| {}).await.unwrap();
    assert_eq!(
        verdict,
        PasswordCheck::Wrong(Some(UserId::Number(2))),
        "the name is known, and its password is checked"
    );
}

/// How a program writes a file that is there.
#[derive(Clone, Copy, Debug)]
enum Way {
    /// Emptied, then from the beginning to the end.
    Truncated,
    /// From the beginning to the end over what was there, then cut off.
    InPlace,
}

proptest! {
    /// Any old and any new list, written in either way and in any pieces, looked at at any moments,
    /// while the writer never pauses for as long as the follower waits ([`AGREEMENT`]; over what
    /// was there, until two looks see the same): nothing happens to those who are in the old and in
    /// the new one, and in the end the new list counts.
    #[test]
    fn however_a_file_is_written_users_in_the_old_and_the_new_one_are_left_alone(
        old in proptest::collection::btree_set(1_u8..10, 1..8),
        new in proptest::collection::btree_set(1_u8..10, 1..8),
        way in prop_oneof![Just(Way::Truncated), Just(Way::InPlace)],
        pieces in proptest::collection::vec((1_usize..400, 0_u64..5), 1..40),
        at_boundaries in any::<bool>(),
    ) {
        let list = |ids: &std::collections::BTreeSet<u8>| ids.iter().map(|&id| another(id)).collect::<String>();
        let (before, after) = (list(&old), list(&new));
        let files = Files::new(&before);
        let follower = Follower::open(files.path.clone(), None, true).unwrap();
        let mut users = follower.users();
        let mut known = LastSeenUsers::of(&users);
        let Follower { mut watch, .. } = follower;
        let mut now = Instant::now();
        let mut changed = HashSet::new();
        let mut look = |now: Instant| {
            if let Ok(Some(settled)) = watch.look(&users, &known, now) {
                changed.extend(known.changes_to(&settled.known).into_iter().map(|change| change.id));
                (users, known) = (settled.users, settled.known);
            }
            changed.clone()
        };
        let both: Vec<_> = old.intersection(&new).map(|&id| UserId::Number(id.into())).collect();
        let ends: Vec<usize> = after.match_indices("[[user]]").map(|(at, _)| at).collect();
        let mut modified = SystemTime::UNIX_EPOCH;
        // Real time stands still here, so that the file's times have to be made.
        let mut write = |text: &str| {
            fs::write(&files.path, text).unwrap();
            modified += Duration::from_millis(1);
            fs::File::options().write(true).open(&files.path).unwrap().set_modified(modified).unwrap();
        };
        let mut done = 0;
        for &(size, pause) in pieces.iter().cycle() {
            let end = (done + size).min(after.len());
            done = if at_boundaries { ends.iter().copied().find(|&at| at >= end).unwrap_or(after.len()) } else { end };
            let (rest, pause) = match way {
                Way::Truncated => ("", pause),
                Way::InPlace => (before.get(done..).unwrap_or_default(), pause.min(1)),
            };
            write(&format!("{}{rest}", &after[..done]));
            for second in 0..pause {
                let changed = look(now + Duration::from_secs(second));
                prop_assert!(!both.iter().any(|id| changed.contains(id)), "{done} of {}: {changed:?}", after.len());
            }
            now += Duration::from_secs(pause);
            if done == after.len() {
                break;
            }
        }
        write(&after);
        for second in 0..15 {
            let changed = look(now + Duration::from_secs(second));
            prop_assert!(!both.iter().any(|id| changed.contains(id)), "{changed:?}");
        }
        look(now + Duration::from_secs(15));
        let now: HashSet<_> = known.ids().cloned().collect();
        prop_assert_eq!(now, new.iter().map(|&id| UserId::Number(id.into())).collect::<HashSet<_>>());
    }
}

/// What instances share, as the test sets it.
#[derive(Debug, Default)]
struct Others {
    kept: Mutex<Kept>,
    /// The list that all others have; `None`: there are no others.
    digest: Mutex<Option<String>>,
    /// The lists of those that have left.
    left_with: Mutex<Vec<String>>,
    /// The list that this one has shown.
    shown: Mutex<Option<String>>,
}

#[async_trait]
impl SharedLastSeen for Others {
    async fn read(&self) -> Result<Kept, SharedError> {
        Ok(self.kept.lock().unwrap().clone())
    }

    async fn write(&self, text: Vec<u8>, revision: u64) -> Result<Option<u64>, SharedError> {
        let mut kept = self.kept.lock().unwrap();
        if kept.revision != revision {
            return Ok(None);
        }
        *kept = Kept { text: Some(text), revision: revision + 1 };
        Ok(Some(kept.revision))
    }

    fn is_agreed(&self, digest: Option<&str>) -> bool {
        *self.shown.lock().unwrap() = digest.map(str::to_owned);
        let others = self.digest.lock().unwrap();
        others.is_none() || others.as_deref() == digest
    }

    fn has_another_left(&self, digest: &str) -> bool {
        std::mem::take(&mut *self.left_with.lock().unwrap()).iter().any(|left| left != digest)
    }
}

impl Others {
    fn keep(&self, list: &str) {
        let mut kept = self.kept.lock().unwrap();
        *kept = Kept { text: Some(seen(list).to_json().unwrap()), revision: kept.revision + 1 };
    }

    fn have(&self, list: &str) {
        *self.digest.lock().unwrap() = Some(seen(list).digest());
    }

    /// The others stop, or are killed.
    fn leave(&self) {
        self.left_with.lock().unwrap().extend(self.digest.lock().unwrap().take());
    }

    fn kept(&self) -> Option<LastSeenUsers> {
        self.kept.lock().unwrap().text.as_deref().map(|text| LastSeenUsers::from_json(text).unwrap())
    }
}

fn seen(list: &str) -> LastSeenUsers {
    LastSeenUsers::of(&Users::parse(list).unwrap())
}

impl Files {
    async fn follow_beside(&self, others: &Arc<Others>) -> Following {
        let mut follower = Follower::open(self.path.clone(), None, true).unwrap();
        follower.share(Arc::clone(others) as _).await.unwrap();
        Following::begin(follower)
    }
}

fn with_another_password(list: &str) -> String {
    list.replace("$AAAAAAAAAAAAAAAAAAAAAA$", "$BAAAAAAAAAAAAAAAAAAAAA$")
}

/// Of two lists nobody knows which is the newer one, until all instances have the same.
#[tokio::test(start_paused = true)]
async fn what_changed_before_the_start_counts_once_all_instances_have_the_same_users() {
    let (before, now) = (list([1, 2, 3]), with_another_password(&list([1])) + &list([2]));
    let (files, others) = (Files::new(&now), Arc::<Others>::default());
    others.keep(&before);
    others.have(&before);
    let following = files.follow_beside(&others).await;
    following.looks(30).await;
    assert_eq!((following.notified(), following.live().await), (vec![], vec![1, 2, 3]));
    assert_eq!(others.kept(), Some(seen(&before)), "what all had been notified of");
    // What happens in front of its eyes counts at once.
    let now = format!("{now}disabled = true\n");
    files.write(&now);
    following.looks(2).await;
    assert_eq!((following.notified(), following.live().await), (vec!["2 change".to_owned()], vec![1, 3]));
    others.have(&now);
    following.looks(4).await;
    assert_eq!(following.notified(), ["2 change"], "agreed for too short a time");
    // Until the sessions are notified that 3 was removed, they do not agree.
    following.looks(10).await;
    let mut told = following.notified();
    told.sort();
    told.dedup();
    assert_eq!(told, ["1 password", "2 change", "3 change"]);
    assert_eq!((following.live().await, others.kept()), (vec![1], Some(seen(&now))));
}

/// The model found this: an instance with the former list lets in whoever has a former password,
/// and is gone before it sees the new one. Whoever is left notifies the sessions once more.
#[tokio::test(start_paused = true)]
async fn sessions_are_notified_again_if_an_instance_with_the_former_users_leaves() {
    let (before, now) = (list([1]), with_another_password(&list([1])));
    for has_seen_it in [false, true] {
        let (files, others) = (Files::new(&before), Arc::<Others>::default());
        others.keep(&before);
        others.have(&before);
        let following = files.follow_beside(&others).await;
        following.looks(10).await;
        files.write(&now);
        following.looks(10).await;
        assert_eq!((following.notified(), others.kept()), (vec!["1 password".to_owned()], Some(seen(&before))));
        if has_seen_it {
            others.have(&now);
        }
        others.leave();
        following.looks(10).await;
        let times = if has_seen_it { 1 } else { 2 };
        assert_eq!(following.notified(), vec!["1 password"; times], "{has_seen_it}");
        assert_eq!(others.kept(), Some(seen(&now)));
        following.looks(10).await;
        assert_eq!(following.notified().len(), times);
    }
}

/// It reads then what is kept.
#[tokio::test(start_paused = true)]
async fn sessions_are_notified_again_also_if_another_instance_has_written_what_is_kept() {
    let (before, now) = (list([1]), with_another_password(&list([1])));
    let (files, others) = (Files::new(&before), Arc::<Others>::default());
    others.have(&before);
    let following = files.follow_beside(&others).await;
    following.looks(2).await;
    others.keep(&before);
    files.write(&now);
    following.looks(10).await;
    assert_eq!(following.notified(), ["1 password"]);
    others.leave();
    following.looks(10).await;
    assert_eq!(following.notified(), ["1 password"; 2]);
    assert_eq!(others.kept(), Some(seen(&now)));
}

/// Otherwise nobody would miss it, if it was killed before it has notified them.
#[tokio::test(start_paused = true)]
async fn others_are_shown_the_users_once_the_sessions_are_notified() {
    let (before, now) = (list([1]), with_another_password(&list([1])));
    let (files, others) = (Files::new(&before), Arc::<Others>::default());
    let following = files.follow_beside(&others).await;
    let shown = || others.shown.lock().unwrap().clone();
    following.looks(2).await;
    assert_eq!(shown(), Some(seen(&before).digest()));
    following.listener.fails.store(true, SeqCst);
    files.write(&now);
    following.looks(3).await;
    assert_eq!(shown(), None);
    following.listener.fails.store(false, SeqCst);
    following.looks(3).await;
    assert_eq!((following.notified(), shown()), (vec!["1 password".to_owned()], Some(seen(&now).digest())));
}

/// Who has logged in since must not be logged out by the instance that comes second.
#[tokio::test(start_paused = true)]
async fn what_another_instance_has_notified_the_sessions_of_is_no_news() {
    let (before, now) = (list([1]), with_another_password(&list([1])));
    let (files, others) = (Files::new(&now), Arc::<Others>::default());
    others.keep(&before);
    others.have(&now);
    let following = files.follow_beside(&others).await;
    following.looks(3).await;
    others.keep(&now);
    following.looks(30).await;
    assert_eq!(following.notified(), [""; 0]);
    assert_eq!((others.kept(), others.kept.lock().unwrap().revision), (Some(seen(&now)), 2), "nothing to write");
}

/// Another instance has written first, or is about to write what it has.
#[tokio::test(start_paused = true)]
async fn what_all_have_is_kept_whichever_writes_it() {
    let now = list([1]);
    let (files, others) = (Files::new(&now), Arc::<Others>::default());
    let following = files.follow_beside(&others).await;
    following.looks(3).await;
    assert_eq!(others.kept(), None);
    others.keep(&list([1, 2]));
    following.looks(10).await;
    assert_eq!((others.kept(), others.kept.lock().unwrap().revision), (Some(seen(&now)), 2));
    let next = list([1, 3]);
    files.write(&next);
    others.keep(&next);
    others.have(&next);
    following.looks(10).await;
    assert_eq!((others.kept(), others.kept.lock().unwrap().revision), (Some(seen(&next)), 3), "nothing to write");
    assert_eq!(following.notified(), [""; 0]);
}

/// It says nothing about anybody, however well the others agree.
#[tokio::test(start_paused = true)]
async fn an_empty_file_beside_others_ends_no_session_and_writes_nothing() {
    let before = list([1, 2]);
    let (files, others) = (Files::new(""), Arc::<Others>::default());
    others.keep(&before);
    let following = files.follow_beside(&others).await;
    following.looks(30).await;
    assert_eq!((following.notified(), following.live().await), (vec![], vec![1, 2]));
    assert_eq!(others.kept(), Some(seen(&before)));
    files.write(&before);
    following.looks(10).await;
    assert_eq!((following.notified(), others.kept()), (vec![], Some(seen(&before))));
}
