//! The services in `examples/services`, which are written with the tools of others, behind our
//! gateway and behind Resgate. They differ in their language only, so one scenario is for all.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail, ensure};
use futures_util::StreamExt;
use relogin_tests::{
    in_time,
    parts::Part,
    process::Process,
    res::{Answer, Res},
    stage::Stage,
};
use serde_json::{Value, json};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::watch,
};

use crate::LOGOUT;

on!(nats: a_service_in_javascript, a_service_in_go, a_service_in_python);

// Which gateway hears it makes no difference.
on!(over_nats:
    a_service_in_javascript_resets_when_it_reconnects,
    a_service_in_go_resets_when_it_reconnects,
    a_service_in_python_resets_when_it_reconnects,
);

#[derive(Clone, Copy, Debug)]
enum Language {
    JavaScript,
    Go,
    Python,
}

async fn a_service_in_javascript(stage: &mut Stage) -> Result<()> {
    serves_a_list(stage, Language::JavaScript).await
}

async fn a_service_in_go(stage: &mut Stage) -> Result<()> {
    serves_a_list(stage, Language::Go).await
}

async fn a_service_in_python(stage: &mut Stage) -> Result<()> {
    serves_a_list(stage, Language::Python).await
}

async fn serves_a_list(stage: &mut Stage, language: Language) -> Result<()> {
    stage.up(&[]).await?;
    let service = language.start(stage, &stage.nats_url()).await?;

    // Nobody but users may look, and guests may do no more.
    let mut nobody = stage.res().await?;
    assert_eq!(nobody.request("subscribe.team.tasks", None).await?.code(), Some("system.accessDenied"));
    assert_eq!(add(&mut nobody, "Let me in").await?.code(), Some("system.accessDenied"));
    let mut guest = Tasks::of(stage, "guest").await?;
    let mut jane = Tasks::of(stage, "jane").await?;
    let read = json!({ "id": 1, "text": "Read about RES", "done": true, "by": null });
    let write = json!({ "id": 2, "text": "Write a service", "done": false, "by": null });
    assert_eq!(guest.tasks()?, [read.clone(), write.clone()]);
    assert_eq!(jane.tasks()?, [read.clone(), write.clone()]);
    assert_eq!(add(&mut guest.res, "Let me in").await?.code(), Some("system.accessDenied"));

    // Changes reach everybody who looks.
    let added = add(&mut jane.res, "  Test it ").await?.ok()?;
    assert_eq!(added["rid"], "team.task.3");
    let test = json!({ "id": 3, "text": "Test it", "done": false, "by": 3 });
    for copy in [&mut guest, &mut jane] {
        copy.becomes(&[read.clone(), write.clone(), test.clone()]).await?;
    }
    let changes = json!({ "text": "Write a better service", "done": true });
    jane.res.request("call.team.task.2.set", Some(changes)).await?.ok()?;
    let written = json!({ "id": 2, "text": "Write a better service", "done": true, "by": null });
    for copy in [&mut guest, &mut jane] {
        copy.becomes(&[read.clone(), written.clone(), test.clone()]).await?;
    }
    let mut john = stage.res().await?;
    john.log_in("john", "john").await?;
    john.request("subscribe.team.task.1", None).await?.ok()?;
    jane.res.request("call.team.tasks.remove", Some(json!({ "id": 1 }))).await?.ok()?;
    john.event("team.task.1.delete").await?;
    for copy in [&mut guest, &mut jane] {
        copy.becomes(&[written.clone(), test.clone()]).await?;
    }

    errors_are_passed_on(&mut jane.res).await?;

    // It begins again with the list of before, and says so.
    ensure!(service.stop().await?.success(), "the service fails to stop");
    assert_eq!(add(&mut jane.res, "Is anybody there?").await?.code(), Some("system.notFound"));
    let service = language.start(stage, &stage.nats_url()).await?;
    for copy in [&mut guest, &mut jane] {
        copy.becomes(&[read.clone(), write.clone()]).await?;
    }

    // Who logs out sees nothing from then on, and others do.
    jane.res.request(LOGOUT, None).await?.ok()?;
    let reason = jane.res.event("team.tasks.unsubscribe").await?;
    assert_eq!(reason["reason"]["code"], "system.accessDenied");
    assert_eq!(add(&mut jane.res, "Let me in").await?.code(), Some("system.accessDenied"));
    john.request("call.team.tasks.remove", Some(json!({ "id": 1 }))).await?.ok()?;
    guest.becomes(std::slice::from_ref(&write)).await?;
    assert_eq!(jane.res.request("get.team.tasks", None).await?.code(), Some("system.accessDenied"));
    let seen: Vec<_> = jane.res.events().iter().filter(|event| is_of_the_list(event)).collect();
    assert!(seen.is_empty(), "{seen:#?}");
    service.stop().await.map(drop)
}

async fn errors_are_passed_on(res: &mut Res) -> Result<()> {
    let mut error = async |method: &str, params: Value| match res.request(method, Some(params)).await? {
        Answer::Error(error) => Ok(error),
        Answer::Result(result) => bail!("{method} returns {result}"),
    };
    assert_eq!(
        error("call.team.tasks.add", json!({ "text": " " })).await?,
        json!({ "code": "system.invalidParams", "message": "A task needs a text" })
    );
    assert_eq!(
        error("call.team.tasks.remove", json!({ "id": 3 })).await?,
        json!({ "code": "team.notDone", "message": "A task that is not done cannot be removed", "data": { "id": 3 } })
    );
    assert_eq!(error("call.team.tasks.remove", json!({ "id": 1 })).await?["code"], "system.notFound");
    assert_eq!(error("call.team.tasks.sort", json!({})).await?["code"], "system.methodNotFound");
    assert_eq!(error("call.team.task.2.set", json!({ "done": "yes" })).await?["code"], "system.invalidParams");
    assert_eq!(error("call.team.task.1.set", json!({ "done": true })).await?["code"], "system.notFound");
    assert_eq!(error("call.team.task.2.sort", json!({})).await?["code"], "system.methodNotFound");
    Ok(())
}

async fn add(res: &mut Res, text: &str) -> Result<Answer> {
    res.request("call.team.tasks.add", Some(json!({ "text": text }))).await
}

fn is_of_the_list(event: &Value) -> bool {
    event["event"].as_str().is_some_and(|name| name.starts_with("team.tasks."))
}

/// A client's copy of the list. Only events change it.
struct Tasks {
    res: Res,
    list: Vec<String>,
    models: BTreeMap<String, Value>,
}

impl Tasks {
    /// Logs a user in who has the same name and password, and subscribes.
    async fn of(stage: &Stage, user: &str) -> Result<Self> {
        let mut res = stage.res().await?;
        res.log_in(user, user).await?;
        let result = res.request("subscribe.team.tasks", None).await?.ok()?;
        let items = result["collections"]["team.tasks"].as_array().context("the list")?;
        let list = items.iter().map(rid).collect::<Result<_>>()?;
        let mut copy = Self { res, list, models: BTreeMap::new() };
        copy.take_in(&result["models"]);
        Ok(copy)
    }

    fn tasks(&self) -> Result<Vec<Value>> {
        let task = |rid| self.models.get(rid).cloned().with_context(|| format!("{rid} is not loaded"));
        self.list.iter().map(task).collect()
    }

    /// Takes events in until these are the tasks.
    async fn becomes(&mut self, tasks: &[Value]) -> Result<()> {
        while self.tasks()? != tasks {
            let event = self.res.next_event().await.with_context(|| format!("the tasks are {:?}", self.tasks()))?;
            self.apply(&event)?;
        }
        Ok(())
    }

    fn apply(&mut self, event: &Value) -> Result<()> {
        let (name, data) = (event["event"].as_str().context("a name")?, &event["data"]);
        let idx = || Ok::<_, anyhow::Error>(usize::try_from(data["idx"].as_u64().context("an index")?)?);
        match name.rsplit_once('.').context("a resource")? {
            ("team.tasks", "add") => {
                self.take_in(&data["models"]);
                ensure!(idx()? <= self.list.len(), "{event}");
                self.list.insert(idx()?, rid(&data["value"])?);
            }
            ("team.tasks", "remove") => {
                ensure!(idx()? < self.list.len(), "{event}");
                self.list.remove(idx()?);
            }
            (task, "change") => {
                let model = self.models.get_mut(task).context("a change of what is not loaded")?;
                for (name, value) in data["values"].as_object().context("values")? {
                    model[name] = value.clone();
                }
            }
            // What is deleted leaves the list by an event of its own, which may come later:
            // gateways keep the order of one resource's events.
            (task, "delete" | "unsubscribe") if task != "team.tasks" => {}
            _ => bail!("not expected: {event}"),
        }
        Ok(())
    }

    fn take_in(&mut self, models: &Value) {
        let models = models.as_object().into_iter().flatten();
        self.models.extend(models.map(|(rid, model)| (rid.clone(), model.clone())));
    }
}

fn rid(reference: &Value) -> Result<String> {
    Ok(reference["rid"].as_str().with_context(|| format!("no reference: {reference}"))?.to_owned())
}

impl Language {
    /// Starts the service. Returns once it is ready.
    async fn start(self, stage: &Stage, nats: &str) -> Result<Process> {
        let example = |path| Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/services").join(path);
        let (program, script) = match self {
            Self::JavaScript => (Part::Node.path()?, Some(with_modules(stage, &example("javascript"))?)),
            Self::Go => (Part::ServiceGo.path()?, None),
            Self::Python => (Part::ServicePython.path()?, Some(example("python/main.py"))),
        };
        let arguments = script.iter().map(|path| path.as_os_str()).chain([nats.as_ref()]);
        let process = Process::start(&program, arguments, &stage.evidence().join("service.log"), |_| {})?;
        process.line("that it is ready", |line| (line == "ready").then_some(())).await?;
        Ok(process)
    }
}

/// A copy of the script beside its modules, which node looks for there alone.
fn with_modules(stage: &Stage, example: &Path) -> Result<PathBuf> {
    let folder = stage.folder().join("javascript");
    let script = folder.join("main.js");
    if !folder.exists() {
        fs::create_dir(&folder)?;
        fs::copy(example.join("package.json"), folder.join("package.json"))?;
        fs::copy(example.join("main.js"), &script)?;
        symlink(Part::ServiceJavaScript.path()?.join("node_modules"), folder.join("node_modules"))?;
    }
    Ok(script)
}

async fn a_service_in_javascript_resets_when_it_reconnects(stage: &mut Stage) -> Result<()> {
    resets_when_it_reconnects(stage, Language::JavaScript).await
}

async fn a_service_in_go_resets_when_it_reconnects(stage: &mut Stage) -> Result<()> {
    resets_when_it_reconnects(stage, Language::Go).await
}

async fn a_service_in_python_resets_when_it_reconnects(stage: &mut Stage) -> Result<()> {
    resets_when_it_reconnects(stage, Language::Python).await
}

/// While it was cut off, gateways may have missed its events.
async fn resets_when_it_reconnects(stage: &mut Stage, language: Language) -> Result<()> {
    stage.start_nats().await?;
    let nats = async_nats::connect(stage.nats_url()).await?;
    let mut resets = nats.subscribe("system.reset").await?;
    nats.flush().await?;
    let wire = Wire::to(stage.nats_url().trim_start_matches("nats://")).await?;
    let service = language.start(stage, &format!("nats://{}", wire.address)).await?;
    is_reset(&mut resets).await?;
    wire.cut();
    is_reset(&mut resets).await?;
    // It answers, too.
    let answer = nats.request("get.team.task.1", "{}".into()).await?;
    let answer: Value = serde_json::from_slice(&answer.payload)?;
    assert_eq!(answer["result"]["model"]["text"], "Read about RES");
    service.kill().await
}

async fn is_reset(resets: &mut async_nats::Subscriber) -> Result<()> {
    let reset = in_time("a reset", async { resets.next().await.context("the connection has ended") }).await?;
    let patterns: Value = serde_json::from_slice(&reset.payload)?;
    for kind in ["resources", "access"] {
        ensure!(patterns[kind].as_array().is_some_and(|list| list.contains(&json!("team.>"))), "{patterns}");
    }
    Ok(())
}

/// Passes connections on, and can end those that there are.
struct Wire {
    address: std::net::SocketAddr,
    cuts: watch::Sender<()>,
}

impl Wire {
    async fn to(target: &str) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let (address, cuts, target) = (listener.local_addr()?, watch::Sender::new(()), target.to_owned());
        let cut = cuts.subscribe();
        tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                let (mut cut, target) = (cut.clone(), target.clone());
                cut.mark_unchanged();
                tokio::spawn(async move {
                    let Ok(mut far) = TcpStream::connect(target).await else { return };
                    if near.set_nodelay(true).and_then(|()| far.set_nodelay(true)).is_err() {
                        return;
                    }
                    tokio::select! {
                        _ = copy_bidirectional(&mut near, &mut far) => {}
                        _ = cut.changed() => {}
                    }
                });
            }
        });
        Ok(Self { address, cuts })
    }

    fn cut(&self) {
        self.cuts.send_replace(());
    }
}
