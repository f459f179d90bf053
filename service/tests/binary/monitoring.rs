//! The dashboard and the alerting rules of `deploy/`: their queries are parsed, and name only what
//! a running service exposes. What they show is for people to look at. When rules fire is tested in
//! alerts.rs.

mod alerts;
mod promql;

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    fs,
    path::PathBuf,
};

use promql_parser::{
    label::{MatchOp, Matcher},
    parser::{self, Expr, LabelModifier, VectorSelector},
    util::parse_duration,
};
use serde::Deserialize;
use serde_json::Value;

use crate::{
    metrics::{Scraped, address_of},
    program::Folder,
};

/// By name of a series: its labels, with their values.
struct Exposed(BTreeMap<String, BTreeMap<String, BTreeSet<String>>>);

/// Labels that Prometheus itself adds to each series.
const TARGET: [&str; 2] = ["instance", "job"];

fn repository(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

fn read(path: &str) -> String {
    fs::read_to_string(repository(path)).unwrap()
}

impl Exposed {
    /// Samples as they are written: `name{label="value",…}`.
    fn of<'a>(samples: impl IntoIterator<Item = &'a str>) -> Self {
        // Prometheus makes this one of each target.
        let mut all = BTreeMap::from([("up".to_owned(), BTreeMap::new())]);
        for sample in samples {
            let (name, labels) = sample.trim_end_matches('}').split_once('{').unwrap_or((sample, ""));
            let known: &mut BTreeMap<String, BTreeSet<String>> = all.entry(name.to_owned()).or_default();
            for pair in labels.split(',').filter(|pair| !pair.is_empty()) {
                let (label, value) = pair.split_once('=').unwrap();
                known.entry(label.to_owned()).or_default().insert(value.trim_matches('"').to_owned());
            }
        }
        Self(all)
    }

    /// The labels of what a query results in.
    fn check(&self, query: &str) -> Result<BTreeSet<String>, String> {
        let expr = parser::parse(query).map_err(|error| format!("{query}: {error}"))?;
        self.labels_of(&expr).map_err(|problem| format!("{query}: {problem}"))
    }

    fn labels_of(&self, expr: &Expr) -> Result<BTreeSet<String>, String> {
        Ok(match expr {
            Expr::VectorSelector(selector) => self.selected(selector)?,
            Expr::MatrixSelector(selector) => self.selected(&selector.vs)?,
            Expr::Aggregate(aggregate) => {
                let inner = self.labels_of(&aggregate.expr)?;
                match &aggregate.modifier {
                    None => BTreeSet::new(),
                    Some(LabelModifier::Include(labels)) => {
                        let labels: BTreeSet<String> = labels.labels.iter().cloned().collect();
                        match labels.difference(&inner).next() {
                            Some(unknown) => return Err(format!("there is no label {unknown} to group by")),
                            None => labels,
                        }
                    }
                    Some(LabelModifier::Exclude(labels)) => {
                        inner.into_iter().filter(|label| !labels.labels.contains(label)).collect()
                    }
                }
            }
            Expr::Call(call) => {
                let mut labels = BTreeSet::new();
                for argument in &call.args.args {
                    labels.extend(self.labels_of(argument)?);
                }
                if call.func.name == "histogram_quantile" && !labels.remove("le") {
                    return Err("a quantile of what is no histogram".to_owned());
                }
                labels
            }
            Expr::Binary(binary) => {
                let right = self.labels_of(&binary.rhs)?;
                let left = self.labels_of(&binary.lhs)?;
                let is_number = |expr: &Expr| matches!(expr, Expr::NumberLiteral(_));
                if binary.modifier.is_none() && !is_number(&binary.lhs) && !is_number(&binary.rhs) && left != right {
                    return Err(format!("the sides of {} have other labels", binary.op));
                }
                if is_number(&binary.lhs) { right } else { left }
            }
            Expr::Paren(paren) => self.labels_of(&paren.expr)?,
            Expr::Unary(unary) => self.labels_of(&unary.expr)?,
            Expr::Subquery(subquery) => self.labels_of(&subquery.expr)?,
            Expr::NumberLiteral(_) | Expr::StringLiteral(_) => BTreeSet::new(),
            Expr::Extension(_) => return Err("an extension".to_owned()),
        })
    }

    fn selected(&self, selector: &VectorSelector) -> Result<BTreeSet<String>, String> {
        let name = selector.name.as_deref().ok_or("a series without a name")?;
        let labels = self.0.get(name).ok_or_else(|| format!("there is no {name}"))?;
        for Matcher { op, name: label, value } in
            selector.matchers.matchers.iter().chain(selector.matchers.or_matchers.iter().flatten())
        {
            if TARGET.contains(&label.as_str()) {
                continue;
            }
            let values = labels.get(label).ok_or_else(|| format!("{name} has no label {label}"))?;
            let named: Vec<&str> = match op {
                MatchOp::Equal | MatchOp::NotEqual => vec![value],
                MatchOp::Re(_) | MatchOp::NotRe(_) => value.split('|').collect(),
            };
            if let Some(unknown) = named.into_iter().find(|named| !values.contains(*named)) {
                return Err(format!("{label} of {name} is never {unknown:?}"));
            }
        }
        Ok(labels.keys().cloned().chain(TARGET.map(str::to_owned)).collect())
    }
}

/// The names between `open` and the next character that is in no name.
fn named_after<'a>(text: &'a str, open: &'a str) -> impl Iterator<Item = &'a str> {
    text.split(open).skip(1).map(|rest| {
        let end = rest.find(|char: char| !char.is_ascii_alphanumeric() && char != '_').unwrap_or(rest.len());
        &rest[..end]
    })
}

/// Sections of a page, as links name them.
fn anchors(page: &str) -> HashSet<String> {
    let headings = page.lines().filter_map(|line| line.strip_prefix('#')?.trim_start_matches('#').strip_prefix(' '));
    let slug = |heading: &str| {
        let kept = heading.to_lowercase();
        kept.chars()
            .filter(|char| char.is_alphanumeric() || " -_".contains(*char))
            .collect::<String>()
            .replace(' ', "-")
    };
    headings.map(slug).collect()
}

/// A file of rules, and all that may be in it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rules {
    groups: Vec<Group>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Group {
    name: String,
    rules: Vec<Rule>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    alert: String,
    expr: String,
    r#for: Option<String>,
    labels: Severity,
    annotations: Annotations,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Severity {
    severity: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Annotations {
    summary: String,
    description: String,
    runbook: String,
}

fn check_rules(exposed: &Exposed) {
    let rules: Rules = yaml_serde::from_str(&read("deploy/prometheus/alerts.yml")).unwrap();
    let mut names = HashSet::new();
    for Rule { alert, expr, r#for, labels, annotations } in rules.groups.iter().flat_map(|group| &group.rules) {
        assert!(names.insert(alert), "{alert} twice");
        let found = exposed.check(expr).unwrap_or_else(|problem| panic!("{alert}: {problem}"));
        if let Some(wait) = r#for {
            assert!(parse_duration(wait).is_ok(), "{alert}: {wait}");
        }
        assert!(["critical", "warning"].contains(&labels.severity.as_str()), "{alert}: {}", labels.severity);
        let Annotations { summary, description, runbook } = annotations;
        for label in [summary, description].into_iter().flat_map(|text| named_after(text, "$labels.")) {
            assert!(found.contains(label), "{alert} says {label}, which is no label of its query");
        }
        let (page, section) = runbook.split_once('#').unwrap();
        assert!(anchors(&read(page)).contains(section), "{alert}: {runbook}");
    }
    assert!(names.len() > 10 && rules.groups.iter().all(|group| group.name.starts_with("relogin")));
}

fn check_dashboard(exposed: &Exposed) {
    let dashboard: Value = serde_json::from_str(&read("deploy/grafana/relogin.json")).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    for variable in dashboard["templating"]["list"].as_array().unwrap() {
        if variable["type"] == "query" {
            let query = text(&variable["query"]["query"]);
            let inner = query.strip_prefix("label_values(").and_then(|rest| rest.strip_suffix(')')).unwrap();
            let (series, label) = inner.rsplit_once(", ").unwrap();
            assert!(exposed.check(series).unwrap().contains(label), "{query}");
        }
    }
    let (mut ids, mut cells, mut queries) = (HashSet::new(), HashSet::new(), 0);
    for panel in dashboard["panels"].as_array().unwrap() {
        let title = text(&panel["title"]);
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{title}: its id is another's, too");
        // Otherwise Grafana shows everything above 80 in red.
        if panel["type"] == "stat" && panel["options"]["colorMode"] != "none" {
            assert!(panel["fieldConfig"]["defaults"]["thresholds"].is_object(), "{title}: what is red?");
        }
        let at = |member: &str| panel["gridPos"][member].as_u64().unwrap();
        assert!(at("x") + at("w") <= 24, "{title}");
        for cell in (at("y")..at("y") + at("h")).flat_map(|y| (at("x")..at("x") + at("w")).map(move |x| (x, y))) {
            assert!(cells.insert(cell), "{title} is over another panel");
        }
        for target in panel["targets"].as_array().into_iter().flatten() {
            let query = text(&target["expr"]).replace("$__rate_interval", "1m");
            let found = exposed.check(&query).unwrap_or_else(|problem| panic!("{title}: {problem}"));
            for label in named_after(&text(&target["legendFormat"]), "{{") {
                assert!(found.contains(label), "{title}: {label} is no label of its query");
            }
            queries += 1;
        }
    }
    assert!(queries > 30);
}

#[tokio::test]
async fn dashboard_and_alerts_name_only_what_is_exposed() {
    let folder = Folder::new();
    let service = folder.serve("--demo --metrics-listen 127.0.0.1:0").await;
    let scraped = Scraped::of(&address_of(&service).await).await;
    let exposed = Exposed::of(scraped.samples.keys().map(String::as_str));
    check_rules(&exposed);
    alerts::check(&exposed);
    check_dashboard(&exposed);
    service.stop().await;
}

#[test]
fn a_misspelt_query_is_noticed() {
    let exposed = Exposed::of([
        "requests_total{method=\"login\",outcome=\"result\"}",
        "requests_total{method=\"logout\",outcome=\"denied\"}",
        "time_bucket{le=\"0.1\"}",
        "time_bucket{le=\"+Inf\"}",
        "sessions",
    ]);
    for (query, labels) in [
        ("sessions > 3", vec!["instance", "job"]),
        ("sum(sessions)", vec![]),
        ("up == 0", vec!["instance", "job"]),
        ("sum by (method) (rate(requests_total{method=~\"login|logout\",instance=~\"$i\"}[5m])) > 0", vec!["method"]),
        ("histogram_quantile(0.9, sum by (le, job) (rate(time_bucket[1m])))", vec!["job"]),
        ("sum without (method) (requests_total)", vec!["instance", "job", "outcome"]),
    ] {
        assert_eq!(exposed.check(query).unwrap().into_iter().collect::<Vec<_>>(), labels, "{query}");
    }
    for (query, problem) in [
        ("session > 3", "there is no session"),
        ("rate(requests[5m])", "there is no requests"),
        ("requests_total{methods=\"login\"}", "has no label methods"),
        ("requests_total{method=\"logn\"}", "is never \"logn\""),
        ("requests_total{method!=\"logn\"}", "is never \"logn\""),
        ("requests_total{method=~\"login|logoff\"}", "is never \"logoff\""),
        ("sum by (methods) (requests_total)", "no label methods to group by"),
        ("sum by (method) (sum(requests_total))", "no label method to group by"),
        ("histogram_quantile(0.9, sum(time_bucket))", "no histogram"),
        ("sum by (method) (requests_total) / sum by (outcome) (requests_total)", "have other labels"),
        ("{method=\"login\"}", "without a name"),
        ("rate(sessions)", "expected type"),
        ("sum by method (sessions", "sessions"),
    ] {
        let said = exposed.check(query).unwrap_err();
        assert!(said.contains(problem), "{query}: {said}");
    }
}
