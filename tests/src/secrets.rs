//! Finds secrets in the output of the `relogin` binary: every line that any test of the suite reads
//! is searched. Knows the form of secrets, not where they come from.

/// The length of a relogin key as text: 56 bytes in base64url.
const KEY: usize = 75;

/// What secret a line has in it.
#[must_use]
pub fn found_in(line: &str) -> Option<&'static str> {
    let is_of_key = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if line.split(|c| !is_of_key(c)).any(|run| run.len() == KEY) {
        return Some("a relogin key");
    }
    // The header and the claims of a JSON Web Token each begin with a brace and a quotation mark.
    if line.split(|c| !is_of_key(c) && c != '.').any(|run| run.contains("eyJ") && run.contains(".eyJ")) {
        return Some("a JSON Web Token");
    }
    // A payload of the wire, also with its quotes escaped.
    let plain = line.replace('\\', "");
    let is_member = |name: &str| plain.contains(&format!("\"{name}\":\"")) || plain.contains(&format!("\"{name}\":{{"));
    ["password", "reloginKey", "token", "Cookie", "Authorization"].into_iter().find(|name| is_member(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_found_and_other_texts_are_not() {
        let key = "AQEBAQEBAQEBAQEBAQEBAQAAAAAAAAABmO0JoII2Yfpv_Sr2usOFKfaSJbxDedPHsIUs6oJaUNQ";
        for line in [
            format!("relogin with {key}"),
            format!("Some(\"{key}\")"),
            "key eyJhbGciOiJFZERTQSJ9.eyJzaWQiOiJBUUVCIn0.c2ln".to_owned(),
            r#"{"username":"jane","password":"x"}"#.to_owned(),
            r#"payload="{\"reloginKey\":\"short\"}""#.to_owned(),
            r#"{"cid":"c1","token":{"sid":"x"}}"#.to_owned(),
        ] {
            assert!(found_in(&line).is_some(), "{line}");
        }
        for line in [
            "INFO relogin::sessions::log: logged in outcome=logged_in session=AQEBAQEBAQEBAQEBAQEBAQ generation=1",
            r#"{"time":"x","event":"login_failed","connection":"c1","remoteAddr":"1.2.3.4:5"}"#,
            "a password hash was renewed",
            &"x".repeat(KEY + 1),
            r#"{"token":null}"#,
        ] {
            assert_eq!(found_in(line), None, "{line}");
        }
    }
}
