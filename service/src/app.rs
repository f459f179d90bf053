//! The composition root. It and its folder `app` are all that opens concrete stores, buses and user
//! directories (`app/store.rs`, `app/open.rs`, `app/user_source.rs`). Starts the parts in the order
//! of their dependencies, and stops them in reverse.

pub mod backing_up;
pub mod config;
pub mod copying;
pub mod gateway;
mod listeners;
mod open;
pub mod operators;
pub mod restoring;
mod retry_deadline;
mod running;
pub mod secrets;
mod several;
pub mod store;
mod tasks;
mod unfinished;
mod user_source;

use std::sync::Arc;

use anyhow::Context;
use bytes::Bytes;
use relogin_gateway::{Gateway, Limits};
use relogin_session::Rules;
use relogin_users::{change_spool::ChangeSpool, nats::Changes};
use tokio::sync::{mpsc, watch};
use tracing::warn;

pub use self::running::{App, AppFailure};
use self::{
    config::{Config, GatewayKind, UsersSource},
    listeners::Listeners,
    open::{check_permissions, connect, make_folder, read_secret},
    operators::open_socket,
    retry_deadline::RetryDeadline,
    tasks::{Tasks, Watch},
    user_source::UserSource,
};
use crate::{
    audit::{Audit, AuditFile, AuditTarget},
    auth::{self, Auth},
    clock::SteadyClock,
    control::{self, Began, Control},
    cookie::BrowserCookie,
    demo::{DEMO_NAME, Ticker},
    descriptors, expiry,
    http::{ConnectionLimits, Health, HttpCounts, Site},
    instance::{Claim, Peers},
    issuers, listing,
    metrics::{Metrics, ServiceStats},
    needs::Uses,
    origins::Origins,
    probing,
    reload::{self, Reloads, Secrets},
    resending,
    reset::Resets,
    secret,
    sessions::Sessions,
};

impl App {
    /// Starts the service. When this returns, it answers requests.
    ///
    /// # Errors
    /// What prevents the start, and what to do about it.
    pub async fn start(config: Config) -> anyhow::Result<Self> {
        let descriptors = descriptors::raise_limit();
        // Steps that fail sooner and change less come first.
        let mut user_source = UserSource::open(&config)?;
        let audit_file = match &config.audit {
            Some(AuditTarget::Stdout) => {
                Some(AuditFile::stdout().context("cannot write the audit trail to standard output")?)
            }
            Some(AuditTarget::File(path)) => Some(AuditFile::open(path).with_context(|| {
                format!("cannot write the audit trail to {}; choose another file with --audit", path.display())
            })?),
            None => None,
        };
        let listeners = Listeners::open(&config.listening()).await?;
        let (address, tls) = (listeners.address, listeners.tls.clone());
        let gateway_options = config.gateway();
        let is_shared = config.store.shared_identity().is_some();
        let deadline = RetryDeadline::for_server();
        let (bus, nats) = deadline.retry(None, || connect(config.bus.clone())).await?;
        let watch = Watch::default();
        let stopping = watch.stopping.clone().drop_guard();
        let [doors, services, background, trails] = std::array::from_fn(|_| Tasks::new(&watch));
        let (peers, mut claim) = (Peers::default(), None);
        // Instances that share a store compare secrets before one of them answers anything.
        let read = || read_secret(&config.secret, nats.as_deref());
        let secret = if is_shared { Some(deadline.retry(nats.as_deref(), read).await?) } else { None };
        let shared = secret.as_ref().and_then(|(secret, _)| several::shared(&config, &secret.keyring));
        if let Some(nats) = &nats {
            let uses = Uses {
                name: config.name.clone(),
                demo: config.demo,
                gateway: config.gateway == GatewayKind::Embedded,
                shared: is_shared,
                control: config.control_nats,
                users: match &config.users {
                    UsersSource::Nats(subject) => Some(subject.clone()),
                    _ => None,
                },
                audit: config.audit_subject.clone(),
            };
            if let Some(refused) = check_permissions(nats, &uses).await? {
                anyhow::ensure!(
                    !is_shared,
                    "NATS does not permit this user to {refused}, by which instances with the same sessions find each other"
                );
                warn!(
                    "NATS does not permit this user to {refused}: another instance of the same name would not be noticed"
                );
            } else {
                let (asked, watcher) = Claim::ask(Arc::clone(&bus), &config.name, shared, peers.clone()).await?;
                background.open("watching for other instances", |stop| watcher.run(stop));
                asked.settle().await?;
                claim = Some(asked);
            }
            let nats = Arc::clone(nats);
            background.open("following permissions", |stop| async move { nats.follow_permissions(stop).await });
        }
        let has_data_folder = config.store.keeps_clock_in_data_folder() || user_source.announces();
        if has_data_folder {
            make_folder(&config.data)?;
        }
        config.store.ensure_complete_folder(&config.data)?;
        let (secret, secret_place) = match secret {
            Some(secret) => secret,
            None => read().await?,
        };
        let secret::FromFile { keyring, is_new: is_new_secret } = secret;
        let store = deadline.retry(nats.as_deref(), || config.store.open(&config.data, nats.as_deref())).await?;
        config.store.ensure_complete_bucket(nats.as_deref()).await?;
        // Not before the data folder is known to be this process's own.
        let control_socket = open_socket(&config.control, has_data_folder).await?;
        user_source.share(&config.store, nats.as_deref(), claim.as_ref(), &peers).await?;
        if is_new_secret && store.next_deadline().await?.is_some() {
            warn!(
                "the secret is newer than the sessions, so all their keys will be refused; restore the secret file if it was lost"
            );
        }

        let directory = user_source.directory(&bus);
        let keyring = config.keys.sign_with(keyring);
        let (serve_jwks, jwks) = watch::channel(reload::jwks(&keyring));
        let rules = Rules { policy: config.policy, keyring };
        let audit_subject = config.audit_subject.map(|subject| (Arc::clone(&bus), subject));
        let mut audit = Audit::off();
        if audit_file.is_some() || audit_subject.is_some() {
            let (open, trail) = Audit::new(audit_file, audit_subject);
            audit = open;
            trails.open("writing the audit trail", |stop| trail.run(stop));
        }
        let sessions = Sessions::new(&config.name, rules, Arc::clone(&store), Arc::clone(&directory), Arc::clone(&bus));
        let instance = claim.as_ref().filter(|_| is_shared).map(Claim::id);
        let sessions = instance.iter().fold(sessions, |sessions, instance| sessions.as_instance(instance));
        let clock_file = config.store.keeps_clock_in_data_folder().then(|| config.data.join("clock"));
        let clock = Arc::new(SteadyClock::start(clock_file));
        let sessions =
            Arc::new(sessions.with_audit(audit).with_cap(config.sessions_per_user).with_clock(Arc::clone(&clock) as _));
        let (operated, users_of_operators) = (Arc::clone(&sessions), Arc::clone(&directory));
        let outcomes = sessions.outcomes();
        background.open("saving the session clock", |stop| async move { clock.keep(stop).await });
        let issuers = config.issuers.as_deref().map(issuers::load).transpose()?.map(Arc::new);
        let mut reloads = Reloads { issuers: issuers.clone(), tls: tls.clone(), ..Reloads::default() };
        if let Some(place) = secret_place {
            let sessions = Arc::clone(&sessions);
            let claim = claim.as_ref().map(Claim::handle);
            reloads.secrets = Some(Secrets { place, keys: config.keys, sessions, jwks: serve_jwks, claim });
        }
        if let Some(issuers) = issuers.clone() {
            background.open("following the keys of issuers", |stop| async move {
                stop.run_until_cancelled_owned(issuers.follow()).await;
            });
        }
        // What a client of another gateway says about proxies may be made up.
        let believes_scheme = config.gateway == GatewayKind::Embedded && !config.trusted_proxies.is_empty();
        let origins = Arc::new(
            Origins::new(config.public_url, config.allow_origin, address, believes_scheme).over_tls(tls.is_some()),
        );
        let options = auth::AuthOptions {
            throttle: config.throttle,
            cookie: config.cookie,
            issuers,
            cookie_session: config.cookie_session,
            dbsc: config.dbsc,
            origins: Arc::clone(&origins),
            peers: peers.clone(),
            instance: instance.clone(),
            proxies: config.trusted_proxies.clone(),
            password_rules: config.password_rules,
        };
        let auth = Auth::new(&config.name, Arc::clone(&bus), Arc::clone(&sessions), directory, options).await?;
        let service = Some(ServiceStats { outcomes, auth: auth.stats(), store: Arc::clone(&store) });
        services.open("answering requests", |stop| auth.run(stop));
        background.open("probing connections", |stop| probing::run(Arc::clone(&sessions), stop));
        background.open("telling of stale lists of sessions", |stop| listing::run(Arc::clone(&sessions), stop));
        background.open("disposing of sessions", |stop| expiry::run(Arc::clone(&sessions), stop));
        if is_shared {
            sessions.follow_store();
            let peers = peers.clone();
            background.open("missing instances", |stop| resending::run(Arc::clone(&sessions), peers, stop));
        }
        if user_source.announces() {
            let (announced, sessions) = (ChangeSpool::in_folder(&config.data), Arc::clone(&sessions));
            background.open("following the changes of users", |stop| async move {
                stop.run_until_cancelled_owned(announced.follow(sessions)).await;
            });
        }
        let is_without_users = user_source.is_empty();
        match user_source {
            UserSource::File(list, follower) => {
                let (ask, asked) = mpsc::channel(1);
                reloads.users = Some(ask);
                background.open("following the users file", |stop| async move {
                    stop.run_until_cancelled_owned(follower.follow(list, sessions, asked)).await;
                });
            }
            UserSource::Nats(subject) => {
                let changes = Changes::new(Arc::clone(&bus), &subject, sessions).await?;
                background.open("following announced users", |stop| changes.run(stop));
            }
            UserSource::Demo(_) | UserSource::Exec(_) => {}
        }

        let sets_cookie = config.cookie != auth::CookieKind::Off;
        let cookie = sets_cookie.then(|| BrowserCookie::new(&config.name, Arc::clone(&origins)));
        let has_header_auth = gateway_options.header_auth.is_some();
        let mut names = vec![config.name.clone()];
        if config.demo {
            let ticker = Ticker::new(Arc::clone(&bus)).await?;
            services.open("the demo", |stop| ticker.run(stop));
            names.push(DEMO_NAME.to_owned());
        }
        let gateway = match config.gateway {
            GatewayKind::Embedded => {
                Some(Arc::new(Gateway::start(Arc::clone(&bus), gateway_options, Limits::default())))
            }
            GatewayKind::None => None,
        };
        if let Some(claim) = &claim {
            claim.ready()?;
            claim.announce().await;
        }
        let resets = Resets::new(Arc::clone(&bus), names);
        match &nats {
            Some(nats) => {
                let (subject, payload) = resets.message();
                nats.publish_or_refuse(subject, payload).await?;
            }
            None => resets.announce().await?,
        }
        background.open("watching the message bus", |stop| resets.announce_after_losses(stop));
        let health = Health {
            store: Some(Arc::clone(&store)),
            bus: Arc::clone(&bus),
            peers,
            gateway: gateway.clone(),
            stopping: watch.stopping.clone(),
        };
        let control = Arc::new(Control {
            name: config.name,
            store: config.store.name(),
            has_nats: nats.is_some(),
            instance,
            sessions: operated,
            users: users_of_operators,
            health: health.clone(),
            began: Began::now(),
        });
        if config.control_nats {
            let requests = control::bus::listen(bus.as_ref(), &control.name).await?;
            let (bus, operated) = (Arc::clone(&bus), Arc::clone(&control));
            let answer = move |request: Bytes| {
                let control = Arc::clone(&operated);
                async move { control.answer(&request).await }
            };
            let (answering, one_of_all) = (Arc::clone(&bus), Arc::clone(&control));
            doors.open("answering operators on NATS", |stop| control::bus::run(requests, answering, answer, stop));
            let requests = control::bus::listen_for_each(bus.as_ref(), &control.name).await?;
            let answer = move |request: Bytes| {
                let control = Arc::clone(&one_of_all);
                async move { control.answer_as_one_of_all(&request).await }
            };
            doors.open("answering those who ask all instances", |stop| control::bus::run(requests, bus, answer, stop));
        }
        if let Some(socket) = control_socket {
            doors.open("answering operators", |stop| socket.run(control, stop));
        }
        let counts = Arc::new(HttpCounts::default());
        let metrics = Metrics { gateway: gateway.clone(), bus: Arc::clone(&bus), http: Arc::clone(&counts), service };
        let site = Site {
            gateway: gateway.clone(),
            health,
            jwks,
            has_page: true,
            demo: config.demo,
            cookie,
            ws_paths: config.ws_paths,
            has_header_auth,
            proxies: config.trusted_proxies,
            origins,
            tls: tls.clone(),
            counts,
        };
        let limits = ConnectionLimits::new(config.max_connections, config.max_connections_per_address, descriptors);
        listeners.serve(&doors, &background, site, limits, metrics);
        if config.demo && address.is_some_and(|address| !address.ip().to_canonical().is_loopback()) {
            warn!(
                "--demo on an address that others can reach: anybody can log in, because the demo's passwords are known"
            );
        }
        if is_without_users {
            warn!("nobody can log in yet: add a user by `relogin user add`, or look around with --demo");
        }
        let has_tls = tls.is_some();
        let reloads = Arc::new(reloads);
        let following = Arc::clone(&reloads);
        background.open("following the secrets", |stop| async move {
            stop.run_until_cancelled(following.follow_secrets()).await;
            stop.cancelled().await;
        });
        Ok(Self {
            store,
            bus,
            gateway,
            drain: config.drain,
            address,
            has_tls,
            doors,
            services,
            background,
            trails,
            watch,
            reloads,
            _stopping: stopping,
        })
    }
}
