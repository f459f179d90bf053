//! The client that a program holds.

use std::{sync::Arc, time::Duration};

use relogin_client_proto::{Answer, Binding, Command, ConnectionState, Input, RequestError, Secret, SessionState};
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

/// A RES client that keeps its user logged in. Cheap to clone; it stops when the last clone, and the last resource that was
/// had from it, is dropped. The session stays in storage.
#[derive(Clone, Debug)]
pub struct Client {
    owner: Arc<Owner>,
}

/// What a method gave back.
#[derive(Clone, Debug)]
pub enum Returned {
    /// JSON.
    Payload(Json),
    /// A resource, subscribed.
    Resource(Resource),
}

impl Client {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { owner: Arc::new(Owner { shared }) }
    }

    /// Subscribes to the model `rid`. Returns when its values are there; they can then be read at any time.
    ///
    /// # Errors
    /// [`Error::Id`] if `rid` is no resource id; [`Error::Request`] if it cannot be had; [`Error::Format`] if it is no `T`.
    pub async fn model<T: DeserializeOwned>(&self, rid: &str) -> Result<Model<T>, Error> {
        self.typed(rid).await
    }

    /// Subscribes to the collection `rid`, each of whose values is a `T`.
    ///
    /// # Errors
    /// As [`Client::model`].
    pub async fn collection<T: DeserializeOwned>(&self, rid: &str) -> Result<Collection<T>, Error> {
        self.typed(rid).await
    }

    /// Subscribes to `rid`, whatever it is.
    ///
    /// # Errors
    /// [`Error::Id`] if `rid` is no resource id; [`Error::Request`] if it cannot be had.
    pub async fn resource(&self, rid: &str) -> Result<Resource, Error> {
        match self.command(Command::Subscribe(ResourceId::parse(rid)?)).await? {
            Answer::Resource(rid) => Ok(Resource::new(Arc::clone(&self.owner), rid)),
            _ => Err(Error::Kind),
        }
    }

    /// Subscribes to `rid`, and does not wait for it: its values are there when they come, and what is refused is tried again as
    /// long as the resource is held. [`Resource::events`] tells.
    ///
    /// # Errors
    /// [`Error::Id`] if `rid` is no resource id.
    pub fn follow(&self, rid: &str) -> Result<Resource, Error> {
        let rid = ResourceId::parse(rid)?;
        self.shared().send_command(Command::Subscribe(rid.clone()));
        Ok(Resource::new(Arc::clone(&self.owner), rid))
    }

    /// Reads `rid` once, without what it refers to: that is read as [`Reference`](crate::Reference).
    ///
    /// # Errors
    /// As [`Client::model`].
    pub async fn get<T: DeserializeOwned>(&self, rid: &str) -> Result<T, Error> {
        match self.command(Command::Get(ResourceId::parse(rid)?)).await? {
            Answer::Got(values) => Ok(read::values::<T>(&values)?),
            _ => Err(Error::Kind),
        }
    }

    /// Calls a method, and reads what it gives back as an `R`.
    ///
    /// # Errors
    /// [`Error::Request`] if it is refused or not answered; [`Error::Format`] if the params have no JSON form, or the payload
    /// is no `R`; [`Error::Kind`] if it gives back a resource.
    pub async fn call<R: DeserializeOwned>(&self, rid: &str, method: &str, params: impl Serialize) -> Result<R, Error> {
        payload(self.call_any(rid, method, params).await?)
    }

    /// Calls a method that may give back a payload or a resource.
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

    /// Calls an auth method that may give back a payload or a resource.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn auth_any(&self, rid: &str, method: &str, params: impl Serialize) -> Result<Returned, Error> {
        self.request(true, rid, method, json(params)?).await
    }

    /// Calls a method, or with `auth` an auth method, with these params.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn request(&self, auth: bool, rid: &str, method: &str, params: Option<Json>) -> Result<Returned, Error> {
        let (rid, method) = (ResourceId::parse(rid)?, method.to_owned());
        let command = if auth { Command::Auth { rid, method, params } } else { Command::Call { rid, method, params } };
        self.returned(self.command(command).await)
    }

    /// Logs in. Returns when the relogin key is stored.
    ///
    /// # Errors
    /// What the gateway or the service answers, or that they do not.
    pub async fn login(&self, username: &str, password: &str) -> Result<(), Error> {
        let password = Secret::new(password.to_owned());
        self.command(Command::Login { username: username.to_owned(), password }).await?;
        Ok(())
    }

    /// Logs out. What the service does not hear of now, it is told later.
    pub async fn logout(&self) {
        // Never fails but when the client is over.
        let _ = self.command(Command::Logout).await;
    }

    /// What can be said of the session.
    #[must_use]
    pub fn session(&self) -> SessionState {
        self.shared().lock().machine.session()
    }

    /// The connection's state.
    #[must_use]
    pub fn connection(&self) -> ConnectionState {
        self.shared().lock().machine.connection()
    }

    /// What somebody needs beside the session's relogin key to use it; `None` if there is no session, as far as is known.
    #[must_use]
    pub fn binding(&self) -> Option<Binding> {
        self.shared().lock().machine.binding()
    }

    /// How often the session's relogin key has been exchanged, its first one counting; `None` while the connection does not hold
    /// the session.
    #[must_use]
    pub fn generation(&self) -> Option<u64> {
        self.shared().lock().machine.generation()
    }

    /// How long it is until the relogin key is used next; `None` if it need not be.
    #[must_use]
    pub fn refresh_in(&self) -> Option<Duration> {
        let due = self.shared().lock().machine.refresh_due();
        due.map(|due| self.shared().until(due))
    }

    /// How long it is until the next try to connect; `None` while connected, or stopped.
    #[must_use]
    pub fn retry_in(&self) -> Option<Duration> {
        match self.connection() {
            ConnectionState::Reconnecting { next_try } => Some(self.shared().until(next_try)),
            _ => None,
        }
    }

    /// Each new state of connection and session.
    pub fn events(&self) -> Events {
        Events::new(self.shared())
    }

    /// Tries to connect now, if there is no connection, however long the back-off still is: for a person who says so. A login does
    /// that by itself.
    pub fn connect_now(&self) {
        self.shared().send(Input::ConnectNow);
    }

    /// The greeting of a new connection is over: resources may be subscribed again. For clients whose `Config` says that they
    /// greet.
    pub fn greeted(&self) {
        self.shared().send(Input::Greeted);
    }

    /// Ends the client for all who hold it: what they wait for comes to nothing. The session stays in storage.
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
        // Better to say so now than at the first look.
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
