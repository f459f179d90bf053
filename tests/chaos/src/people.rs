//! What users and thieves do. Must not know what the programs go through.

use std::{sync::Arc, time::Duration};

use anyhow::{Context, Result};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use relogin_client_proto::{SessionState, stored_key};
use relogin_tests::res;
use serde_json::{Value, json};
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};

use crate::{
    browser::Browser,
    history::{Answer, Event, Request, Sender},
    record::{answer, key},
    tab::{Disturbance, Place, Tab},
    world::PASSWORD,
};

/// A user at a browser, with one or two tabs.
#[derive(Debug)]
pub struct Person {
    /// The browser.
    pub browser: Arc<Browser>,
    /// What is open in it.
    pub tabs: Vec<Tab>,
    place: Place,
    rng: StdRng,
}

impl Person {
    /// Opens the browser, with this many tabs.
    #[must_use]
    pub fn new(browser: Browser, tabs: usize, place: &Place, seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let browser = Arc::new(browser);
        let tabs = (0..tabs).map(|_| Tab::open(&browser, place, StdRng::from_rng(&mut rng))).collect();
        Self { browser, tabs, place: place.clone(), rng }
    }

    /// Goes on until told to stop.
    pub async fn live(mut self, mut stop: watch::Receiver<bool>) -> Self {
        loop {
            let pause = Duration::from_millis(self.rng.random_range(300..5_000));
            if timeout(pause, stop.wait_for(|stop| *stop)).await.is_ok() {
                return self;
            }
            if self.is_out() {
                self.log_in().await;
            } else {
                self.act().await;
            }
        }
    }

    /// Comes back after all faults: every tab on a new connection, logged in.
    pub async fn come_back(&mut self) {
        self.tabs.iter().for_each(|tab| tab.disturb(Disturbance::Cut));
        let has_left = async |tab: &Tab| {
            while matches!(tab.client.session(), SessionState::LoggedIn(_)) {
                sleep(Duration::from_millis(5)).await;
            }
        };
        // A tab that was frozen in the end notices late.
        for tab in &self.tabs {
            let _ = timeout(Duration::from_secs(8), has_left(tab)).await;
            tab.client.connect_now();
        }
        self.get_in().await;
    }

    /// Notices that the session was stolen, and logs in again.
    pub async fn recover(&mut self) {
        while !self.is_out() {
            sleep(Duration::from_millis(5)).await;
        }
        self.get_in().await;
    }

    async fn get_in(&self) {
        while !self.is_in() {
            if self.is_out() {
                self.log_in().await;
            }
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// Writes down who is logged in, as soon as all tabs show the user. A tab that shows nobody may
    /// be one whose session a retry of another has just moved there: it takes it up again.
    pub async fn write_down(&self) {
        let users = async || {
            loop {
                let users: Vec<_> = self.tabs.iter().map(Tab::user).collect();
                if users.iter().all(|user| user.as_ref() == Some(&self.browser.user)) {
                    break users;
                }
                sleep(Duration::from_millis(50)).await;
            }
        };
        let in_time = timeout(relogin_tests::DEADLINE, users()).await;
        let browser = self.browser.number;
        for user in in_time.unwrap_or_else(|_| self.tabs.iter().map(Tab::user).collect()) {
            self.place.recorder.event(Event::AtLast { browser, user });
        }
    }

    /// True if all tabs show the user.
    #[must_use]
    pub fn is_in(&self) -> bool {
        self.tabs.iter().all(|tab| tab.user().as_ref() == Some(&self.browser.user))
    }

    fn is_out(&self) -> bool {
        let session = self.tabs[0].client.session();
        matches!(session, SessionState::Anonymous | SessionState::Ended(_))
    }

    async fn log_in(&self) {
        // It may be refused or stay without an answer; then it is tried again.
        let _ = self.tabs[0].client.login(&self.browser.user, PASSWORD).await;
    }

    async fn act(&mut self) {
        let which = self.rng.random_range(0..self.tabs.len());
        match self.rng.random_range(0..100) {
            0..35 => {}
            35..60 => self.tabs[which].disturb(Disturbance::Cut),
            60..78 => {
                let rng = StdRng::from_rng(&mut self.rng);
                self.tabs[which] = Tab::open(&self.browser, &self.place, rng);
            }
            78..90 => {
                let length = Duration::from_millis(self.rng.random_range(500..5_000));
                self.tabs[which].disturb(Disturbance::Freeze(length));
            }
            _ => {
                self.place.recorder.event(Event::LogsOut { browser: self.browser.number });
                // The page is logged out at once; the service may get it later.
                let _ = timeout(Duration::from_secs(2), self.tabs[which].client.logout()).await;
            }
        }
    }
}

/// A thief, who has copied a key, now or some time ago.
#[derive(Debug)]
pub struct Thief {
    place: Place,
    rng: StdRng,
}

impl Thief {
    /// A thief.
    #[must_use]
    pub fn new(place: &Place, seed: u64) -> Self {
        Self { place: place.clone(), rng: StdRng::seed_from_u64(seed) }
    }

    /// Steals now and then, until told to stop.
    ///
    /// # Errors
    /// If a theft gets no answer for a long time.
    pub async fn live(mut self, victims: Arc<Vec<Arc<Browser>>>, mut stop: watch::Receiver<bool>) -> Result<()> {
        loop {
            let pause = Duration::from_millis(self.rng.random_range(1_000..6_000));
            if timeout(pause, stop.wait_for(|stop| *stop)).await.is_ok() {
                return Ok(());
            }
            let victim = &victims[self.rng.random_range(0..victims.len())];
            if self.rng.random() {
                self.steal(victim).await?;
            } else {
                self.break_in(victim).await?;
            }
        }
    }

    /// Uses a used key of this browser until there is an answer; whether there was one to use.
    ///
    /// # Errors
    /// If there is no answer for a long time.
    pub async fn steal(&mut self, victim: &Browser) -> Result<bool> {
        let Some(text) = victim.used(self.rng.random_range(0..3)) else { return Ok(false) };
        self.insist(victim.number, &text).await?;
        Ok(true)
    }

    /// Uses the key that this browser has stored, and if that is faster than the owner, after a
    /// while the next one.
    async fn break_in(&mut self, victim: &Browser) -> Result<()> {
        let stored = victim.read().and_then(|text| stored_key(&text));
        let Some(stored) = stored else { return Ok(()) };
        if let Answer::Key(next) = self.insist(victim.number, stored.expose()).await? {
            sleep(Duration::from_millis(self.rng.random_range(0..4_000))).await;
            self.insist(victim.number, &next.text).await?;
        }
        Ok(())
    }

    /// Uses a key until there is an answer that decides.
    async fn insist(&mut self, victim: usize, text: &str) -> Result<Answer> {
        let attempt = format!("{:021}A", self.place.recorder.number());
        let using = async {
            loop {
                match self.strike(victim, text, &attempt).await {
                    Ok(Answer::Open) | Err(_) => sleep(Duration::from_millis(200)).await,
                    Ok(answer) => break answer,
                }
            }
        };
        timeout(relogin_tests::DEADLINE, using).await.context("a thief gets no answer")
    }

    async fn strike(&mut self, victim: usize, text: &str, attempt: &str) -> Result<Answer> {
        let gateway = &self.place.gateways[self.rng.random_range(0..self.place.gateways.len())];
        let recorder = &self.place.recorder;
        let request = Request::Use { key: key(text).context("a key")?, attempt: attempt.to_owned() };
        let using = async {
            let mut res = res::Res::connect(gateway).await?;
            let number = recorder.sent(Sender::Thief(victim), recorder.number(), request);
            let frame = match res.relogin(&Value::from(text), Some(attempt)).await? {
                res::Answer::Result(result) => json!({ "result": result }),
                res::Answer::Error(error) => json!({ "error": error }),
            };
            let answer = answer(&frame);
            recorder.answered(number, answer.clone());
            Ok(answer)
        };
        timeout(Duration::from_secs(6), using).await?
    }
}
