//! The tests of the alerting rules, `deploy/prometheus/alerts_test.yml`, which `promtool` runs,
//! too.

use std::collections::BTreeMap;

use promql_parser::{parser, util::parse_duration};
use serde::Deserialize;

use super::{
    Exposed, Rule, Rules,
    promql::{self, Labels, Series},
    read,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Tests {
    rule_files: Vec<String>,
    evaluation_interval: String,
    tests: Vec<Test>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Test {
    interval: String,
    input_series: Vec<Input>,
    alert_rule_test: Vec<Look>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Input {
    series: String,
    values: String,
}

/// Which alerts there are at a time.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Look {
    alertname: String,
    eval_time: String,
    exp_alerts: Vec<Expected>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Expected {
    exp_labels: Labels,
    exp_annotations: BTreeMap<String, String>,
}

/// The labels of the alerts of a rule at a time.
fn firing(rule: &Rule, all: &[Series], every: f64, until: f64) -> Vec<Labels> {
    let expr = parser::parse(&rule.expr).unwrap();
    let wait = rule.r#for.as_deref().map_or(0.0, |wait| parse_duration(wait).unwrap().as_secs_f64());
    let mut since: BTreeMap<Labels, f64> = BTreeMap::new();
    let mut at = 0.0;
    loop {
        let found = promql::evaluate(&expr, all, at).into_iter().map(|(mut labels, _)| {
            labels.remove("__name__");
            labels.insert("severity".to_owned(), rule.labels.severity.clone());
            let since = *since.get(&labels).unwrap_or(&at);
            (labels, since)
        });
        since = found.collect();
        if at >= until {
            return since.into_iter().filter(|(_, since)| until - since >= wait).map(|(labels, _)| labels).collect();
        }
        at += every;
    }
}

#[test]
fn each_alert_fires_when_it_should_and_is_quiet_before() {
    let rules: Rules = yaml_serde::from_str(&read("deploy/prometheus/alerts.yml")).unwrap();
    let tests: Tests = yaml_serde::from_str(&read("deploy/prometheus/alerts_test.yml")).unwrap();
    let seconds = |text: &str| parse_duration(text).unwrap().as_secs_f64();
    assert_eq!(tests.rule_files, ["alerts.yml"]);
    let mut looks: BTreeMap<&str, [usize; 2]> = BTreeMap::new();
    for Test { interval, input_series, alert_rule_test } in &tests.tests {
        let every = parse_duration(interval).unwrap();
        let series = |input: &Input| Series::parse(&input.series, every, &input.values);
        let all: Vec<_> = input_series.iter().map(series).collect();
        for Look { alertname, eval_time, exp_alerts } in alert_rule_test {
            let mut rules = rules.groups.iter().flat_map(|group| &group.rules);
            let rule = rules.find(|rule| rule.alert == *alertname).unwrap();
            let found = firing(rule, &all, seconds(&tests.evaluation_interval), seconds(eval_time));
            let expected: Vec<_> = exp_alerts.iter().map(|expected| expected.exp_labels.clone()).collect();
            assert_eq!(found, expected, "{alertname} at {eval_time}");
            for Expected { exp_annotations, .. } in exp_alerts {
                assert_eq!(exp_annotations["description"], rule.annotations.description, "{alertname}");
                assert_eq!(exp_annotations["runbook"], rule.annotations.runbook, "{alertname}");
            }
            looks.entry(alertname).or_default()[usize::from(!found.is_empty())] += 1;
        }
    }
    for Rule { alert, .. } in rules.groups.iter().flat_map(|group| &group.rules) {
        let [quiet, fires] = looks.get(alert.as_str()).copied().unwrap_or_default();
        assert!(
            quiet > 0 && fires > 0,
            "{alert} has {quiet} tests in which it is quiet, and {fires} in which it fires"
        );
    }
}

/// Their series are such as a service has.
pub(super) fn check(exposed: &Exposed) {
    let tests: Tests = yaml_serde::from_str(&read("deploy/prometheus/alerts_test.yml")).unwrap();
    for Input { series, .. } in tests.tests.iter().flat_map(|test| &test.input_series) {
        exposed.check(series).unwrap_or_else(|problem| panic!("{problem}"));
    }
}
