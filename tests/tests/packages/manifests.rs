//! Checks deploy/kubernetes.yaml and deploy/compose.yaml as far as that goes without an engine:
//! names, ports and volumes lead somewhere, and our binary takes the options that it is given.

use std::{collections::BTreeSet, fs, path::Path};

use serde_json::Value;

use crate::{repository, taken::waits_for_nats};

/// The members of a list.
fn list<'v>(value: &'v Value, pointer: &str) -> impl Iterator<Item = &'v Value> {
    value.pointer(pointer).and_then(Value::as_array).into_iter().flatten()
}

fn text<'v>(value: &'v Value, pointer: &str) -> &'v str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_else(|| panic!("no text at {pointer} of {value}"))
}

fn texts(value: &Value, pointer: &str) -> Vec<String> {
    list(value, pointer).map(|text| text.as_str().unwrap().to_owned()).collect()
}

/// The value of an option that is written as `--name=value`.
fn option<'a>(args: &'a [String], name: &str) -> &'a str {
    let prefix = format!("--{name}=");
    args.iter().find_map(|arg| arg.strip_prefix(&prefix)).unwrap_or_else(|| panic!("no --{name} in {args:?}"))
}

struct Manifests {
    text: String,
    objects: Vec<Value>,
}

impl Manifests {
    fn read() -> Self {
        let text = fs::read_to_string(repository().join("deploy/kubernetes.yaml")).unwrap();
        let objects = serde_saphyr::from_multiple(&text).unwrap();
        Self { text, objects }
    }

    fn named(&self, kind: &str, name: &str) -> &Value {
        let is_it = |object: &&Value| object["kind"] == kind && object["metadata"]["name"] == name;
        self.objects.iter().find(is_it).unwrap_or_else(|| panic!("there is no {kind} {name}"))
    }

    fn workloads(&self) -> impl Iterator<Item = &Value> {
        self.objects.iter().filter(|object| object.pointer("/spec/template").is_some())
    }

    /// The pods that carry these labels.
    fn selected(&self, labels: &Value) -> &Value {
        let is_it = |workload: &&Value| workload.pointer("/spec/template/metadata/labels") == Some(labels);
        self.workloads().find(is_it).unwrap_or_else(|| panic!("no pods have {labels}"))
    }
}

/// The names of the ports of all containers of a workload.
fn port_names(workload: &Value) -> BTreeSet<&str> {
    list(workload, "/spec/template/spec/containers")
        .flat_map(|container| list(container, "/ports"))
        .map(|port| text(port, "/name"))
        .collect()
}

#[test]
fn names_ports_and_volumes_of_the_kubernetes_manifests_lead_somewhere() {
    let manifests = Manifests::read();
    let names: BTreeSet<_> =
        manifests.objects.iter().map(|object| (text(object, "/kind"), text(object, "/metadata/name"))).collect();
    assert_eq!(names.len(), manifests.objects.len(), "two objects of one name");
    for object in &manifests.objects {
        assert_eq!((text(object, "/metadata/namespace"), object["apiVersion"].is_string()), ("relogin", true));
        match text(object, "/kind") {
            "Service" => {
                let pods = manifests.selected(&object["spec"]["selector"]);
                for port in list(object, "/spec/ports") {
                    let target = port["targetPort"].as_str().unwrap_or(text(port, "/name"));
                    assert!(port_names(pods).contains(target), "{target} of {object}");
                }
            }
            "PodDisruptionBudget" => {
                let pods = manifests.selected(&object["spec"]["selector"]["matchLabels"]);
                assert!(pods["spec"]["replicas"].as_u64() > object["spec"]["maxUnavailable"].as_u64());
            }
            _ => {}
        }
    }
    for workload in manifests.workloads() {
        assert!(std::ptr::eq(manifests.selected(&workload["spec"]["selector"]["matchLabels"]), workload));
        let pod = &workload["spec"]["template"]["spec"];
        let volumes = list(pod, "/volumes").map(|volume| text(volume, "/name"));
        let claims = list(workload, "/spec/volumeClaimTemplates").map(|claim| text(claim, "/metadata/name"));
        let volumes: BTreeSet<_> = volumes.chain(claims).collect();
        for container in list(pod, "/containers") {
            for mount in list(container, "/volumeMounts") {
                assert!(volumes.contains(text(mount, "/name")), "{mount}");
            }
            for probe in ["startupProbe", "readinessProbe", "livenessProbe"].map(|name| &container[name]) {
                for port in ["/httpGet/port", "/tcpSocket/port"].iter().filter_map(|port| probe.pointer(port)) {
                    assert!(port_names(workload).contains(port.as_str().unwrap()), "{probe}");
                }
            }
        }
        for volume in list(pod, "/volumes").filter(|volume| volume["configMap"].is_object()) {
            let file = list(pod, "/containers").flat_map(|container| texts(container, "/args"));
            let map = manifests.named("ConfigMap", text(volume, "/configMap/name"));
            let known = map["data"].as_object().unwrap();
            assert!(file.into_iter().any(|arg| known.contains_key(arg.rsplit('/').next().unwrap())), "{volume}");
        }
    }
}

#[tokio::test]
async fn the_instances_of_kubernetes_reach_their_nats_and_take_their_options() {
    let manifests = Manifests::read();
    let relogin = manifests.named("Deployment", "relogin");
    let pod = &relogin["spec"]["template"]["spec"];
    let container = &pod["containers"][0];
    let args = texts(container, "/args");
    let nats = manifests.named("StatefulSet", "nats");
    let servers = nats["spec"]["replicas"].as_u64().unwrap();
    let service = text(nats, "/spec/serviceName");
    let port = |name: &str| {
        let port = list(manifests.named("Service", service), "/spec/ports").find(|port| port["name"] == name);
        port.unwrap()["port"].as_u64().unwrap()
    };
    let address = |server: u64, port: u64| format!("nats://nats-{server}.{service}:{port}");
    let clients: Vec<String> = (0..servers).map(|server| address(server, port("client"))).collect();
    assert_eq!(option(&args, "nats"), clients.join(","));
    assert_eq!(option(&args, "replicas"), servers.to_string());
    let config = text(manifests.named("ConfigMap", "nats"), "/data/nats.conf");
    for server in 0..servers {
        assert!(config.contains(&address(server, port("cluster"))), "{config}");
    }
    assert!(config.contains(&format!("http: \"0.0.0.0:{}\"", port("monitor"))), "{config}");

    // The secret is made by the command in the header, with the files that the options name.
    let secret = list(pod, "/volumes").find(|volume| volume["secret"].is_object()).unwrap();
    let made = format!("kubectl create secret generic {} --namespace relogin", text(secret, "/secret/secretName"));
    let made = manifests.text.lines().find(|line| line.contains(&made)).expect("the header makes the secret");
    let folder = text(&container["volumeMounts"][0], "/mountPath");
    for name in ["users", "secret-passphrase"] {
        let file = Path::new(option(&args, name));
        assert_eq!(file.parent(), Some(Path::new(folder)));
        let file = file.file_name().unwrap().to_str().unwrap();
        assert!(made.contains(&format!("--from-file={file}")), "{made}");
    }
    for (option_name, port_name) in [("listen", "http"), ("metrics-listen", "metrics")] {
        let port = list(container, "/ports").find(|port| port["name"] == port_name).unwrap();
        assert!(option(&args, option_name).ends_with(&format!(":{}", port["containerPort"])), "{port}");
    }
    assert_eq!(text(container, "/readinessProbe/httpGet/path"), "/healthz");
    let seconds = |pointer: &str| pod.pointer(pointer).and_then(Value::as_u64).unwrap();
    let drain: u64 = option(&args, "drain").strip_suffix('s').unwrap().parse().unwrap();
    let waits = seconds("/containers/0/lifecycle/preStop/sleep/seconds");
    assert!(waits + drain < seconds("/terminationGracePeriodSeconds"));
    let socket = list(container, "/env").find(|variable| variable["name"] == "RELOGIN_CONTROL_SOCKET").unwrap();
    let socket = Path::new(text(socket, "/value"));
    let mounts = |mount: &&Value| Some(Path::new(text(mount, "/mountPath"))) == socket.parent();
    let mount = list(container, "/volumeMounts").find(mounts).expect("the socket's folder is mounted");
    let volume = list(pod, "/volumes").find(|volume| volume["name"] == mount["name"]).unwrap();
    assert!(volume["emptyDir"].is_object() && mount["readOnly"].is_null(), "{volume}");
    asks_inside("kubectl exec --namespace relogin deployment/relogin -- /usr/bin/relogin status", socket);
    waits_for_nats(&args, folder).await;
}

/// docs/operations.md has this command, and the socket that it asks.
fn asks_inside(command: &str, socket: &Path) {
    let docs = fs::read_to_string(repository().join("docs/operations.md")).unwrap();
    let docs = docs.split_whitespace().collect::<Vec<_>>().join(" ");
    for text in [command, socket.to_str().unwrap()] {
        assert!(docs.contains(&format!("`{text}`")), "{text}");
    }
}

/// The image's own command has its data folder, and so its socket, in the working directory.
#[test]
fn operators_ask_in_the_image_where_its_service_listens() {
    let text = fs::read_to_string(repository().join("deploy/Containerfile")).unwrap();
    let folder = text.lines().find_map(|line| line.strip_prefix("WORKDIR ")).unwrap();
    assert!(text.contains(&format!("--volume relogin:{folder} ")) && text.contains("COPY relogin /usr/bin/relogin"));
    let socket = Path::new(folder).join("relogin-data/control.sock");
    asks_inside("podman exec CONTAINER /usr/bin/relogin status", &socket);
}

#[tokio::test]
async fn the_services_of_compose_know_each_other_and_ours_takes_its_options() {
    let text = fs::read_to_string(repository().join("deploy/compose.yaml")).unwrap();
    let compose: Value = serde_saphyr::from_str(&text).unwrap();
    let services = compose["services"].as_object().unwrap();
    let config = compose["configs"]["nats"]["content"].as_str().unwrap();
    for (name, service) in services {
        for other in service["depends_on"].as_object().into_iter().flatten().map(|(other, _)| other) {
            assert!(services.contains_key(other) && services[other]["healthcheck"].is_object(), "{name}: {other}");
        }
        for volume in texts(service, "/volumes").iter().filter(|volume| !volume.starts_with('.')) {
            let volume = volume.split(':').next().unwrap();
            assert!(compose["volumes"].as_object().unwrap().contains_key(volume), "{name}: {volume}");
        }
        for config in list(service, "/configs").map(|config| config["source"].as_str().unwrap()) {
            assert!(compose["configs"][config].is_object(), "{name}: {config}");
        }
    }
    let health = services["nats"]["healthcheck"]["test"].to_string();
    assert!(health.contains(":8222/healthz") && config.contains("http: \"0.0.0.0:8222\""), "{health} {config}");
    let resgate = texts(&services["resgate"], "/command");
    let args = texts(&services["relogin"], "/command");
    assert_eq!(option(&args, "nats"), "nats://nats:4222");
    assert!(resgate.iter().any(|arg| arg == option(&args, "nats")), "{resgate:?}");
    let mounted = texts(&services["relogin"], "/volumes");
    assert_eq!(mounted, ["./config:/etc/relogin:ro"]);
    let socket = services["relogin"]["environment"]["RELOGIN_CONTROL_SOCKET"].as_str().unwrap();
    let folder = Path::new(socket).parent().unwrap().to_str().unwrap();
    let writable = texts(&services["relogin"], "/tmpfs");
    assert_eq!(writable, [format!("{folder}:uid=65532,gid=65532,mode=0700")]);
    asks_inside("docker compose exec relogin /usr/bin/relogin status", Path::new(socket));
    waits_for_nats(&args, "/etc/relogin").await;
}
