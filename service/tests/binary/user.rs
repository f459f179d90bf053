//! `relogin user …`, as it is typed.

use std::{fs, os::unix::fs::PermissionsExt};

use crate::program::Folder;

#[test]
fn users_are_added_listed_changed_and_removed() {
    let folder = Folder::new();
    let run = |args: &str, input: &str| folder.run(args, input);

    assert_eq!(
        run("user add jane --password-stdin --name Jane\u{a0}Doe", "open sesame\n").success(),
        "added jane with id 1 to users.toml\n"
    );
    assert_eq!(
        run("user add John --role admin --id j-4 --password-stdin", "horse battery\r\n").success(),
        "added John with id j-4 to users.toml\n"
    );
    let list = run("user list", "").success();
    let rows: Vec<Vec<&str>> =
        list.lines().map(|row| row.split(' ').filter(|cell| !cell.is_empty()).collect()).collect();
    assert_eq!(
        rows,
        [
            vec!["ID", "USERNAME", "NAME", "ROLE"],
            vec!["1", "jane", "Jane\u{a0}Doe", "user"],
            vec!["j-4", "John", "John", "admin"],
        ]
    );
    let path = folder.path("users.toml");
    let before = fs::read_to_string(&path).unwrap();
    assert!(before.contains("$argon2id$v=19$m=19456,t=2,p=1$") && !before.contains("open sesame"));
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);

    run("user passwd JOHN --password-stdin", "another one").success();
    let after = fs::read_to_string(&path).unwrap();
    assert_ne!(before, after);
    run("user passwd john --password-stdin --password-cost m=8,t=1,p=1", "another one").success();
    assert!(fs::read_to_string(&path).unwrap().contains("$m=8,t=1,p=1$"));
    assert_eq!(run("user disable jane", "").success(), "disabled jane\n");
    assert!(run("user list", "").success().contains("user (disabled)"));
    assert_eq!(run("user enable jane", "").success(), "enabled jane\n");
    assert!(!run("user list", "").success().contains("disabled"));
    assert_eq!(run("user set-name JANE Jane", "").success(), "changed the name of JANE\n");
    assert_eq!(run("user set-role john owner", "").success(), "changed the role of john\n");
    run("user disable john", "").success();
    let json = run("user list --json", "").success();
    assert_eq!(
        json,
        "[{\"disabled\":false,\"id\":1,\"name\":\"Jane\",\"role\":\"user\",\"username\":\"jane\"},\
         {\"disabled\":true,\"id\":\"j-4\",\"name\":\"John\",\"role\":\"owner\",\"username\":\"John\"}]\n"
    );
    assert!(run("user set-role mary admin", "").refused().ends_with("there is no user \"mary\""));
    run("user remove jane", "").success();
    assert_eq!(run("user list", "").success().lines().count(), 2);
}

#[test]
fn failed_user_commands_are_reported_in_one_line() {
    let folder = Folder::new();
    let refused = |args: &str, input: &str| folder.run(args, input).refused();

    assert_eq!(
        refused("user list", ""),
        "relogin: there is no users file users.toml; create it with `relogin user add`"
    );
    assert_eq!(
        refused("user passwd jane --password-stdin", "correct horse"),
        "relogin: there is no users file users.toml; create it with `relogin user add`"
    );
    assert_eq!(refused("user add jane --password-stdin", "\n"), "relogin: the password is empty; enter one");
    assert_eq!(
        refused("user add jane", ""),
        "relogin: there is no terminal to ask for the password; give it with --password-stdin"
    );
    folder.run("user add jane --password-stdin", "correct horse").success();
    assert_eq!(
        refused("user add JANE --password-stdin", "correct horse"),
        "relogin: cannot add the user: there are two users of one name, 1 (\"jane\") and 2 (\"JANE\"): case, spaces and Unicode forms do not matter"
    );
    assert_eq!(
        refused("user add john --id 1 --password-stdin", "correct horse"),
        "relogin: cannot add the user: there are two users with the id 1"
    );
    assert_eq!(refused("user remove john", ""), "relogin: there is no user \"john\"");
    fs::write(folder.path("users.toml"), "[[user]]\nid = 1\nname = 7\n").unwrap();
    assert!(
        refused("user list", "").starts_with("relogin: users file users.toml: line 3: name: invalid type: integer `7`")
    );
}

/// Deleting lines by hand records nothing, but the file has recorded the id before.
#[test]
fn the_id_of_a_user_who_was_deleted_by_hand_is_not_given_again() {
    let folder = Folder::new();
    for (name, id) in [("jane", 1), ("john", 2)] {
        let added = folder.run(&format!("user add {name} --password-stdin"), "open sesame\n").success();
        assert_eq!(added, format!("added {name} with id {id} to users.toml\n"));
    }
    let text = fs::read_to_string(folder.path("users.toml")).unwrap();
    let (before, _) = text.split_once("\n[[user]]\nid = 2").unwrap();
    fs::write(folder.path("users.toml"), before).unwrap();
    assert_eq!(folder.run("user list", "").success().lines().count(), 2);
    let added = folder.run("user add mary --password-stdin", "open sesame\n").success();
    assert_eq!(added, "added mary with id 3 to users.toml\n");
}

#[test]
fn the_file_is_named_by_flag_environment_or_configuration() {
    let folder = Folder::new();
    fs::write(folder.path("relogin.toml"), "users = \"c.toml\"\n").unwrap();
    let added = |args: &str, env: &[(&str, &str)]| folder.run_with(args, env, "correct horse").success();
    assert!(added("user add a --password-stdin", &[]).ends_with(" to c.toml\n"));
    assert!(added("user add a --password-stdin", &[("RELOGIN_USERS", "e.toml")]).ends_with(" to e.toml\n"));
    assert!(
        added("user add a --password-stdin --users f.toml", &[("RELOGIN_USERS", "e.toml")]).ends_with(" to f.toml\n")
    );
    assert!(
        added("user add b --password-stdin", &[("RELOGIN_USERS", "")]).ends_with(" to c.toml\n"),
        "empty is not set"
    );
}

/// A program that knows one user, as the file `user` says.
fn users_program(folder: &Folder) {
    let program = "#!/bin/sh\nread -r question\nread -r user < user\nprintf '{\"user\":%s}' \"$user\"\n";
    fs::write(folder.path("users"), program).unwrap();
    fs::set_permissions(folder.path("users"), fs::Permissions::from_mode(0o700)).unwrap();
}

fn user_is(folder: &Folder, user: &str) {
    // Atomically: the program may be reading it.
    fs::write(folder.path("user.new"), format!("{user}\n")).unwrap();
    fs::rename(folder.path("user.new"), folder.path("user")).unwrap();
}

#[tokio::test]
async fn changes_of_a_programs_users_are_announced() {
    let (folder, change) = (Folder::new(), "session.user.{cid}.change");
    users_program(&folder);
    user_is(&folder, r#"{"id":3,"name":"Jane Doe","role":"user"}"#);
    let serve = "--users exec:./users";
    let service = folder.serve(serve).await;
    let mut res = service.connect().await;
    let key = res.log_in("jane", "sesame").await.unwrap()["reloginKey"].take();
    res.user().await.unwrap();

    let changed = |options: &str| folder.run(&format!("user changed 3 {options}").trim_end().replace("  ", " "), "");
    user_is(&folder, r#"{"id":3,"name":"Jane Doe","role":"admin"}"#);
    assert_eq!(changed("").success(), "announced that user 3 has changed\n");
    res.event_where(change, |data| data["values"]["role"] == "admin").await.unwrap();

    // An announcement while the service is stopped takes effect at its start.
    service.stop().await;
    changed("--password").success();
    let service = folder.serve(serve).await;
    let mut res = service.connect().await;
    service.says("a user has changed").await;
    assert_eq!(res.relogin(&key, None).await.unwrap().code(), Some("session.invalidReloginKey"));

    res.log_in("jane", "sesame").await.unwrap();
    res.user().await.unwrap();
    user_is(&folder, "null");
    changed("").success();
    res.event_where(change, |data| data["values"]["id"].is_null()).await.unwrap();
    service.stop().await;
}

#[test]
fn an_announcement_needs_the_data_folder_of_a_service() {
    let folder = Folder::new();
    let refused = |args: &str| folder.run(args, "").refused();
    assert_eq!(
        refused("user changed 3 --data elsewhere"),
        "relogin: there is no data folder elsewhere; name the service's data folder with --data"
    );
    assert!(refused("user changed 3 --keep x --password").contains("not a session id"));
}
