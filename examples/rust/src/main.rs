//! A page in Yew: a form to log in with, and the demo's counter for who is. A reload stays logged
//! in.

use futures_util::StreamExt as _;
use relogin_web::{Client, Error, Event, Model, Options, SessionState};
use serde::Deserialize;
use web_sys::{FormData, HtmlFormElement};
use yew::prelude::*;

/// The resource `ticker.model`.
#[derive(Deserialize)]
struct Ticker {
    seconds: u64,
}

#[derive(Default)]
struct App {
    client: Option<Client>,
    /// Subscribed as long as it is kept: at once where somebody is logged in, else when somebody
    /// is.
    ticker: Option<Model<Ticker>>,
    failure: Option<String>,
}

enum Msg {
    Connected(Client),
    /// The session or the counter has changed.
    Changed,
    Login(SubmitEvent),
    Logout,
    Failed(String),
}

impl Component for App {
    type Message = Msg;
    type Properties = ();

    fn create(context: &Context<Self>) -> Self {
        context.link().send_future(async {
            match connect().await {
                Ok(client) => Msg::Connected(client),
                Err(error) => Msg::Failed(error.to_string()),
            }
        });
        Self::default()
    }

    fn update(&mut self, context: &Context<Self>, message: Msg) -> bool {
        match message {
            Msg::Connected(client) => {
                context.link().send_stream(
                    client
                        .events()
                        .filter_map(async |event| matches!(event, Event::Session(_)).then_some(Msg::Changed)),
                );
                match client.follow("ticker.model") {
                    Ok(ticker) => {
                        let ticker = ticker.typed::<Ticker>();
                        context.link().send_stream(ticker.changes().map(|_| Msg::Changed));
                        self.ticker = Some(ticker);
                    }
                    Err(error) => self.failure = Some(error.to_string()),
                }
                self.client = Some(client);
            }
            Msg::Changed => {}
            Msg::Login(event) => {
                event.prevent_default();
                self.failure = None;
                let (Some(client), Some(form)) = (self.client.clone(), event.target_dyn_into()) else { return false };
                context.link().send_future(async move {
                    log_in(&client, &form).await.map_or_else(|error| Msg::Failed(error.to_string()), |()| Msg::Changed)
                });
            }
            Msg::Logout => {
                let Some(client) = self.client.clone() else { return false };
                context.link().send_future(async move {
                    client.logout().await;
                    Msg::Changed
                });
            }
            Msg::Failed(failure) => self.failure = Some(failure),
        }
        true
    }

    fn view(&self, context: &Context<Self>) -> Html {
        let session = self.client.as_ref().map_or(SessionState::Resuming, Client::session);
        let body = match session {
            // Not known yet: no form, or it would flash up on each reload.
            SessionState::Resuming => html! { <p>{ "…" }</p> },
            SessionState::LoggedIn(user) | SessionState::Reconnecting(user) => {
                let seconds = self.ticker.as_ref().and_then(|ticker| ticker.get().ok()).map(|ticker| ticker.seconds);
                html! { <>
                    <p>{ "Logged in as " }<output id="user">{ user.name }</output></p>
                    <output id="seconds">{ seconds.map_or_else(|| "…".to_owned(), |seconds| seconds.to_string()) }</output>
                    <button id="logout" onclick={context.link().callback(|_| Msg::Logout)}>{ "Log out" }</button>
                </> }
            }
            SessionState::Anonymous | SessionState::Ended(_) => html! {
                <form onsubmit={context.link().callback(Msg::Login)}>
                    <label>{ "Name " }<input name="username" autocomplete="username"/></label>
                    <label>{ "Password " }<input name="password" type="password" autocomplete="current-password"/></label>
                    <button>{ "Log in" }</button>
                </form>
            },
        };
        html! { <main>{ body }<p role="alert">{ self.failure.clone().unwrap_or_default() }</p></main> }
    }
}

async fn connect() -> Result<Client, Box<dyn std::error::Error>> {
    Ok(Options::new("ws://localhost:8080").session("session")?.connect().await?)
}

async fn log_in(client: &Client, form: &HtmlFormElement) -> Result<(), Error> {
    let fields = FormData::new_with_form(form).ok();
    let field = |name| fields.as_ref().and_then(|fields| fields.get(name).as_string()).unwrap_or_default();
    client.login(&field("username"), &field("password")).await
}

fn main() {
    yew::Renderer::<App>::new().render();
}
