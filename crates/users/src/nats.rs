//! Users that a service on the message bus knows (`--users nats:SUBJECT`, docs/users.md). Must not
//! depend on sessions or RES.

mod changes;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use relogin_bus::{Bus, BusError, Delivery, Mailbox, Tag};
use relogin_session::{User, UserId};
use thiserror::Error;
use tokio::time::{sleep, timeout};

pub use self::changes::Changes;
use crate::{Credentials, DirectoryError, PasswordChange, PasswordChanged, PasswordCheck, UserDirectory, external};

/// Asks a service on the bus.
pub struct NatsDirectory {
    bus: Arc<dyn Bus>,
    subject: String,
}

/// Why the service did not answer.
#[derive(Debug, Error)]
enum AskError {
    #[error("cannot send a request to the users service on {0:?}")]
    Bus(String, #[source] BusError),
    #[error("no users service listens on {0:?}")]
    Nobody(String),
    #[error("the users service on {0:?} did not answer in time")]
    Late(String),
    #[error("the users service on {0:?} failed")]
    Answer(String, #[source] external::ExternalError),
}

/// How long a login may take: its gateway is asked for more time than that.
const LOGIN_DEADLINE: Duration = Duration::from_secs(10);

/// How long it takes until the gateway is asked for more time: well within the 3 s that it waits
/// anyway.
const SLOW: Duration = Duration::from_secs(1);

/// How long anything else may take: a relogin waits for it, and the relogin's gateway waits 3 s at
/// most.
const DEADLINE: Duration = Duration::from_secs(2);

impl NatsDirectory {
    /// A directory that sends requests on `subject`.
    #[must_use]
    pub fn new(bus: Arc<dyn Bus>, subject: String) -> Self {
        Self { bus, subject }
    }

    async fn ask(&self, question: Bytes, deadline: Duration) -> Result<Bytes, AskError> {
        let subject = || self.subject.clone();
        let failed = |error| AskError::Bus(subject(), error);
        let (mailbox, mut inbox) = Mailbox::new();
        let answered = async {
            let _waiting = self.bus.ask(&self.subject, question, &mailbox, Tag(0)).await.map_err(failed)?;
            match inbox.next().await {
                Some(Delivery::Reply { payload, .. }) => Ok(payload),
                Some(Delivery::NoResponders { .. }) => Err(AskError::Nobody(subject())),
                Some(Delivery::Message { .. } | Delivery::Lost) | None => Err(failed(BusError::Closed)),
            }
        };
        timeout(deadline, answered).await.unwrap_or_else(|_| Err(AskError::Late(subject())))
    }

    /// Asks what may take long, and says so if it does.
    async fn ask_slowly(&self, question: Bytes, queued: &(dyn Fn() + Send + Sync)) -> Result<Bytes, DirectoryError> {
        let asking = self.ask(question, LOGIN_DEADLINE);
        tokio::pin!(asking);
        let answer = tokio::select! {
            biased;
            answer = &mut asking => answer,
            () = sleep(SLOW) => {
                queued();
                asking.await
            }
        };
        answer.map_err(external::failed)
    }

    fn read<T>(&self, answer: Result<T, external::ExternalError>) -> Result<T, DirectoryError> {
        answer.map_err(|error| external::failed(AskError::Answer(self.subject.clone(), error)))
    }
}

#[async_trait]
impl UserDirectory for NatsDirectory {
    async fn verify(
        &self,
        credentials: Credentials<'_>,
        queued: &(dyn Fn() + Send + Sync),
    ) -> Result<PasswordCheck, DirectoryError> {
        let answer = self.ask_slowly(external::ask_login(credentials), queued).await?;
        self.read(external::read_login(&answer))
    }

    async fn change_password(
        &self,
        change: PasswordChange<'_>,
        queued: &(dyn Fn() + Send + Sync),
    ) -> Result<PasswordChanged, DirectoryError> {
        let answer = self.ask_slowly(external::ask_change(change), queued).await?;
        self.read(external::read_changed(&answer))
    }

    async fn find(&self, id: &UserId) -> Result<Option<User>, DirectoryError> {
        let answer = self.ask(external::ask_user(id), DEADLINE).await.map_err(external::failed)?;
        self.read(external::read_user(&answer, id))
    }
}

impl std::fmt::Debug for NatsDirectory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NatsDirectory").field("subject", &self.subject).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

    use relogin_bus::local::LocalBus;
    use relogin_host::errors::Chain;
    use relogin_session::Secret;
    use tokio::time::Instant;

    use super::*;

    /// A directory, and a service that answers each request by `answer`, after a time; never, if
    /// that gives nothing.
    async fn rig(answer: fn(&str) -> Option<(Duration, &'static str)>) -> NatsDirectory {
        let bus = Arc::new(LocalBus::new());
        let mut requests = bus.subscribe(&["my.users".to_owned()]).await.unwrap();
        let service = Arc::clone(&bus);
        tokio::spawn(async move {
            while let Some(request) = requests.next().await {
                let question = std::str::from_utf8(&request.payload).unwrap();
                if let Some((time, text)) = answer(question) {
                    sleep(time).await;
                    service.publish(&request.reply.unwrap(), text.into()).await.unwrap();
                }
            }
        });
        NatsDirectory::new(bus, "my.users".to_owned())
    }

    async fn verify(directory: &NatsDirectory, queued: &AtomicUsize) -> Result<PasswordCheck, String> {
        let password = Secret::new("hunter2".to_owned());
        let credentials = Credentials { username: "jane", password: &password, remote_addr: Some("1.1.1.1:1") };
        let tell = || {
            queued.fetch_add(1, SeqCst);
        };
        directory.verify(credentials, &tell).await.map_err(|error| Chain(&error).to_string())
    }

    async fn find(directory: &NatsDirectory) -> Result<Option<User>, String> {
        directory.find(&UserId::Number(3)).await.map_err(|error| Chain(&error).to_string())
    }

    #[tokio::test(start_paused = true)]
    async fn it_asks_the_service_and_uses_its_answer() {
        let directory = rig(|question| {
            let answer = match question {
                r#"{"username":"jane","password":"hunter2","remoteAddr":"1.1.1.1:1"}"# | r#"{"id":3}"# => {
                    r#"{"user":{"id":3,"name":"Jane","role":"user"}}"#
                }
                _ => "{}",
            };
            Some((Duration::ZERO, answer))
        })
        .await;
        let queued = AtomicUsize::new(0);
        let jane = User { id: UserId::Number(3), name: "Jane".into(), role: "user".into() };
        assert_eq!(verify(&directory, &queued).await, Ok(PasswordCheck::Right(jane.clone())));
        assert_eq!(find(&directory).await, Ok(Some(jane)));
        assert_eq!(queued.load(SeqCst), 0);

        let directory = rig(|_| Some((Duration::ZERO, r#"{"user":null}"#))).await;
        assert_eq!(verify(&directory, &queued).await, Ok(PasswordCheck::Wrong(None)));
        assert_eq!(find(&directory).await, Ok(None));
    }

    #[tokio::test(start_paused = true)]
    async fn the_service_changes_passwords_if_it_offers_that() {
        let (id, session) = (UserId::Number(3), relogin_session::SessionId([0; 16]));
        let [current, new] = ["hunter2", "correct horse"].map(|text| Secret::new(text.to_owned()));
        let change = PasswordChange { id: &id, session, current: &current, new: &new, remote_addr: None };
        let queued = AtomicUsize::new(0);
        let tell = || {
            queued.fetch_add(1, SeqCst);
        };
        let offers = rig(|question| {
            let sid = "AAAAAAAAAAAAAAAAAAAAAA";
            let expected =
                format!(r#"{{"id":3,"current":"hunter2","new":"correct horse","sid":"{sid}","remoteAddr":null}}"#);
            let answer = if question == expected { r#"{"changed":true}"# } else { "{}" };
            Some((Duration::from_secs(9), answer))
        })
        .await;
        assert_eq!(offers.change_password(change, &tell).await.unwrap(), PasswordChanged::Changed);
        assert_eq!(queued.load(SeqCst), 1, "as slow as a login may be");
        // One from before there were changes answers whose id it is.
        let offers_none = rig(|_| Some((Duration::ZERO, r#"{"user":{"id":3,"name":"Jane","role":"user"}}"#))).await;
        assert_eq!(offers_none.change_password(change, &tell).await.unwrap(), PasswordChanged::NotOffered);
        let silent = rig(|_| None).await;
        assert!(silent.change_password(change, &tell).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_service_is_waited_for_and_reported_as_queued() {
        let directory = rig(|_| Some((Duration::from_secs(9), r#"{"user":null}"#))).await;
        let queued = AtomicUsize::new(0);
        assert_eq!(verify(&directory, &queued).await, Ok(PasswordCheck::Wrong(None)));
        assert_eq!(queued.load(SeqCst), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn missing_and_unusable_answers_are_internal_errors() {
        let queued = AtomicUsize::new(0);
        let silent = rig(|_| None).await;
        let begin = Instant::now();
        let late = "the user directory failed: the users service on \"my.users\" did not answer in time";
        assert_eq!(find(&silent).await.unwrap_err(), late);
        assert_eq!(begin.elapsed(), DEADLINE);
        assert_eq!(verify(&silent, &queued).await.unwrap_err(), late);
        assert_eq!(begin.elapsed(), DEADLINE + LOGIN_DEADLINE);

        let nobody = NatsDirectory::new(Arc::new(LocalBus::new()), "my.users".to_owned());
        let error = find(&nobody).await.unwrap_err();
        assert_eq!(error, "the user directory failed: no users service listens on \"my.users\"");

        let mad = rig(|_| Some((Duration::ZERO, "hunter2 is wrong"))).await;
        for error in [verify(&mad, &queued).await.unwrap_err(), find(&mad).await.unwrap_err()] {
            assert!(
                error.starts_with("the user directory failed: the users service on \"my.users\" failed: its answer")
            );
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
