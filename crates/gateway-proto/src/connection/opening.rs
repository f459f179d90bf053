//! Opens a connection, after header authentication if that is configured.

use relogin_res::service::{Headers, Meta, Response, Subject};

use super::{Connection, Shared};
use crate::{
    api::Action,
    bus::{Asker, Purpose},
};

impl Connection {
    /// Asks whether and how the connection may open, or has it opened if there is nobody to ask.
    pub(crate) fn ask_whether_it_opens(&mut self, shared: &mut Shared) {
        let config = &shared.config;
        let method = if self.is_http() { &config.header_auth } else { &config.ws_header_auth };
        let Some((name, method)) = method.as_deref().and_then(|method| method.rsplit_once('.')) else {
            if self.is_http() {
                self.begin_exchange(shared);
            } else {
                shared.bus.act(Action::Accept { connection: self.key, header: Headers::new() });
            }
            return;
        };
        let subject = Subject::Auth(name.to_owned(), method.to_owned()).to_text();
        let request = self.auth_request(None, None, true);
        self.header_auth =
            Some(shared.bus.ask(Asker::Connection(self.key), Purpose::HeaderAuth(self.key), subject, request));
    }

    /// Takes what came of the header authentication. An error alone, or no answer in time, keeps
    /// nobody out: who has no right gets nothing by a WebSocket or a request.
    pub(crate) fn on_header_auth(&mut self, response: Response, shared: &mut Shared) {
        self.header_auth = None;
        if self.is_http() {
            return self.on_exchange_auth(response, shared);
        }
        let connection = self.key;
        let meta = response.meta.unwrap_or_default();
        let Some(status) = meta.direct_status() else {
            return shared.bus.act(Action::Accept { connection, header: meta.into_header() });
        };
        let body = if status < 400 {
            Vec::new()
        } else {
            let error = response.outcome.err().unwrap_or_else(|| Meta::error_of(status));
            serde_json::to_vec(&error).unwrap_or_default()
        };
        self.is_over = true;
        shared.bus.act(Action::Reject { connection, status, header: meta.into_header(), body: body.into() });
    }
}
