//! The client that a program holds.

use std::{sync::Arc, time::Duration};

use relogin_client_proto::{
    Answer, Binding, Command, ConnectionState, Input, RequestError, Secret, SessionCommand, SessionState,
};
use relogin_res::ResourceId;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value as Json;

use crate::{
    Collection, Error, Events, Model, Resource,
    held::Owner,
    read,
    reply::Reply,
    shared::{Outcome, Shared},
};

/// A RES client that keeps its user logged in. Cheap to clone. It stops when its last clone and the
/// last resource from it are dropped; the session stays in storage.
#[derive(Clone, Debug)]
pub struct Client {
    owner: Arc<Owner>,
}

/// The result of a method.
#[derive(Clone, Debug)]
pub enum Returned {
    /// A JSON value.
    Payload(Json),
    /// A resource, subscribed.
    Resource(Resource),
}

impl Client {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { owner: Arc::new(Owner { shared }) }
    }

    /// Subscribes to the model `rid`. Returns once its values are there; from then on they can be
    /// read at any time.
    ///
    /// # Errors
    /// [`Error::Id`] if `rid` is not a resource id; [`Error::Request`] if the gateway or the
    /// service refuses it or does not answer; [`Error::Format`] if the values are not a `T`.
    pub async fn model<T: DeserializeOwned>(&self, rid: &str) -> Result<Model<T>, Error> {
        self.typed(rid).await
    }

    /// Subscribes to the collection `rid`, whose values are each a `T`.
    ///
    /// # Errors
    /// As [`Client::model`].
    pub async fn collection<T: DeserializeOwned>(&self, rid: &str) -> Result<Collection<T>, Error> {
        self.typed(rid).await
    }

    /// Subscribes to `rid`, a model or a collection.
    ///
    /// # Errors
    /// [`Error::Id`] if `rid` is not a resource id; [`Error::Request`] if the gateway or the
    /// service refuses it or does not answer.
    pub async fn resource(&self, rid: &str) -> Result<Resource, Error> {
        match self.command(Command::Subscribe(ResourceId::parse(rid)?)).await? {
            Answer::Resource(rid) => Ok(Resource::new(Arc::clone(&self.owner), rid)),
            _ => Err(Error::Kind),
        }
    }

    /// Subscribes to `rid` without waiting for it. A subscription that is refused is tried again
    /// for as long as the resource is held. [`Resource::events`] says when the values have come.
    ///
    /// # Errors
    /// [`Error::Id`] if `rid` is not a resource id.
    pub fn follow(&self, rid: &str) -> Result<Resource, Error> {
        let rid = ResourceId::parse(rid)?;
        self.shared().send_command(Command::Subscribe(rid.clone()));
        Ok(Resource::new(Arc::clone(&self.owner), rid))
    }

    /// Reads `rid` once, without what it refers to: references are read as
    /// [`Reference`](crate::Reference).
    ///
    /// # Errors
    /// As [`Client::model`].
    pub async fn get<T: DeserializeOwned>(&self, rid: &str) -> Result<T, Error> {
        match self.command(Command::Get(ResourceId::parse(rid)?)).await? {
            Answer::Got(values) => Ok(read::values::<T>(&values)?),
            _ => Err(Error::Kind),
        }
    }

    /// Calls a method, and reads its result as an `R`.
    ///
    /// # Errors
    /// [`Error::Id`] if `rid` is not a resource id; [`Error::Request`] if the call is refused or
    /// not answered; [`Error::Format`] if the params have no JSON form, or the result is not an
    /// `R`; [`Error::Kind`] if the result is a resource.
    pub async fn call<R: DeserializeOwned>(&self, rid: &str, method: &str, params: impl Serialize) -> Result<R, Error> {
        payload(self.call_any(rid, method, params).await?)
    }

    /// Calls a method whose result may be a payload or a resource.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn call_any(&self, rid: &str, method: &str, params: impl Serialize) -> Result<Returned, Error> {
        self.request(false, rid, method, json(params)?).await
    }

    /// Calls an auth method of a resource other than the session's own.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn auth<R: DeserializeOwned>(&self, rid: &str, method: &str, params: impl Serialize) -> Result<R, Error> {
        payload(self.auth_any(rid, method, params).await?)
    }

    /// Calls an auth method whose result may be a payload or a resource.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn auth_any(&self, rid: &str, method: &str, params: impl Serialize) -> Result<Returned, Error> {
        self.request(true, rid, method, json(params)?).await
    }

    /// Calls a method, or an auth method if `auth` is true, with these params.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn request(&self, auth: bool, rid: &str, method: &str, params: Option<Json>) -> Result<Returned, Error> {
        let (rid, method) = (ResourceId::parse(rid)?, method.to_owned());
        let command = if auth { Command::Auth { rid, method, params } } else { Command::Call { rid, method, params } };
        self.returned(self.command(command).await)
    }

    /// Logs in. Returns once the relogin key is stored.
    ///
    /// # Errors
    /// [`Error::Request`]: the login is refused, not answered, or superseded by a logout.
    pub async fn login(&self, username: &str, password: &str) -> Result<(), Error> {
        let password = Secret::new(password.to_owned());
        let command = SessionCommand::Login { username: username.to_owned(), password };
        self.command(Command::Session(command)).await?;
        Ok(())
    }

    /// Logs out. If the service cannot be reached, the page or program is logged out all the same,
    /// and the logout is completed on a later connection.
    pub async fn logout(&self) {
        // Fails only if the client has ended.
        let _ = self.command(Command::Session(SessionCommand::Logout)).await;
    }

    /// Changes the password of the user who is logged in. Their sessions elsewhere end; this one
    /// goes on. Where the answer is lost, the password may have been changed.
    ///
    /// # Errors
    /// [`Error::Request`]: it is refused, or not answered. [`Error::code`] says why:
    /// `session.wrongPassword`, `session.passwordTooShort` (its data has `minLength`),
    /// `session.passwordTooWeak`, `session.passwordNotChangeable`, `session.tooManyAttempts`,
    /// `session.notLoggedIn`.
    pub async fn change_password(&self, current: &str, new: &str) -> Result<(), Error> {
        let rid = self.shared().session.clone();
        let params = Some(serde_json::json!({ "current": current, "new": new }));
        self.command(Command::Auth { rid, method: "changePassword".to_owned(), params }).await?;
        Ok(())
    }

    /// The session's state.
    #[must_use]
    pub fn session(&self) -> SessionState {
        self.shared().lock().machine.session()
    }

    /// The connection's state.
    #[must_use]
    pub fn connection(&self) -> ConnectionState {
        self.shared().lock().machine.connection()
    }

    /// What is needed to use the session's relogin key beside the key; `None` if there is no
    /// session, as far as the client knows.
    #[must_use]
    pub fn binding(&self) -> Option<Binding> {
        self.shared().lock().machine.binding()
    }

    /// The generation of the session's relogin key: 1 for the one from the login, one more after
    /// each use. `None` while the connection does not hold the session.
    #[must_use]
    pub fn generation(&self) -> Option<u64> {
        self.shared().lock().machine.generation()
    }

    /// The time until the next use of the relogin key; `None` if none is due.
    #[must_use]
    pub fn refresh_in(&self) -> Option<Duration> {
        let due = self.shared().lock().machine.refresh_due();
        due.map(|due| self.shared().until(due))
    }

    /// The time until the next attempt to connect; `None` while connected or stopped.
    #[must_use]
    pub fn retry_in(&self) -> Option<Duration> {
        match self.connection() {
            ConnectionState::Reconnecting { next_try } => Some(self.shared().until(next_try)),
            _ => None,
        }
    }

    /// A stream of events of connection and session, among them each new state.
    pub fn events(&self) -> Events {
        Events::new(self.shared())
    }

    /// Connects at once, whatever the back-off says, if there is no connection: for a button that
    /// says so. A login does this by itself.
    pub fn connect_now(&self) {
        self.shared().send(Input::ConnectNow);
    }

    /// Ends the greeting of a new connection: resources may be subscribed again. Only for clients
    /// with `Config::greet`.
    pub fn greeted(&self) {
        self.shared().send(Input::Greeted);
    }

    /// Stops the client for all who hold it: their pending commands fail. The session stays in
    /// storage.
    pub fn stop(&self) {
        self.shared().abandon();
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.owner.shared
    }

    fn command(&self, command: Command) -> Reply {
        Reply::new(self.shared(), command)
    }

    async fn typed<T: DeserializeOwned>(&self, rid: &str) -> Result<crate::Typed<T>, Error> {
        let resource = self.resource(rid).await?;
        // An error now is better than one at the first read.
        resource.read::<T>()?;
        Ok(resource.typed())
    }

    fn returned(&self, outcome: Outcome) -> Result<Returned, Error> {
        match outcome? {
            Answer::Payload(json) => Ok(Returned::Payload(json)),
            Answer::Resource(rid) => Ok(Returned::Resource(Resource::new(Arc::clone(&self.owner), rid))),
            Answer::Done | Answer::Got(_) => Err(Error::Request(RequestError::Garbled)),
        }
    }
}

fn json(params: impl Serialize) -> Result<Option<Json>, Error> {
    Ok(Some(serde_json::to_value(params)?).filter(|json| !json.is_null()))
}

fn payload<R: DeserializeOwned>(returned: Returned) -> Result<R, Error> {
    match returned {
        Returned::Payload(json) => Ok(serde_json::from_value(json)?),
        Returned::Resource(_) => Err(Error::Kind),
    }
}
