//! Records from disks and browsers: any text is either a record or rejected.

use relogin_client_proto::{Client, Config, Input, PlatformEvent, SessionState};
use relogin_res::ResourceId;
use relogin_session::Record;

use crate::client::Driver;

/// The service's record of a session.
pub(crate) fn session_record(input: &[u8]) {
    if let Ok(record) = Record::decode(input) {
        let encoded = record.encode().unwrap();
        assert_eq!(Record::decode(&encoded).unwrap(), record);
    }
}

/// The browser's record: a client that finds it resumes or has no user, and does the same with the
/// same record.
pub(crate) fn storage_record(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let client = Client::new(Config::new(ResourceId::parse("session").unwrap()));
    let mut driver = Driver::new(client, Some(text.to_owned()));
    driver.input(Input::Start);
    let state = driver.client.session();
    assert!(matches!(state, SessionState::Resuming | SessionState::Anonymous), "{state:?}");
    driver.input(PlatformEvent::StorageChanged);
    assert_eq!(driver.client.session(), state);
    driver.connect();
    driver.input(Input::Stop);
    driver.assert_sound();
}
