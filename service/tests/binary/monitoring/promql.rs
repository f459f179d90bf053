//! Evaluates what the alerting rules have of PromQL, over series that a test makes up, as
//! Prometheus does. `promtool test rules` does the same, and takes minutes to build (ADR 0123).

use std::{collections::BTreeMap, time::Duration};

use promql_parser::parser::{AggregateExpr, BinaryExpr, Expr, LabelModifier, Offset, VectorSelector};

/// By name; that of the metric is `__name__`.
pub(super) type Labels = BTreeMap<String, String>;
type Vector = Vec<(Labels, f64)>;

/// How long a sample counts that is followed by none, in seconds.
const LOOKBACK: f64 = 300.0;

/// A series: a value every so many seconds, from 0 on.
pub(super) struct Series {
    labels: Labels,
    every: f64,
    values: Vec<f64>,
}

impl Series {
    /// From the notation of promtool: `name{label="value",…}`, and `1x9 10+2x9 …`, where `a+bxn` is
    /// a and n more values, each larger by b.
    pub(super) fn parse(series: &str, every: Duration, values: &str) -> Self {
        let (name, rest) = series.trim_end_matches('}').split_once('{').unwrap();
        let pairs = rest.split(',').map(|pair| pair.split_once('=').unwrap());
        let mut labels: Labels = pairs.map(|(label, value)| (label.into(), value.trim_matches('"').into())).collect();
        labels.insert("__name__".to_owned(), name.to_owned());
        let some = |text: &str| {
            let (first, count) = text.split_once('x').unwrap();
            let [first, step] = first.split_once('+').map_or([first, "0"], <[_; 2]>::from).map(|n| n.parse().unwrap());
            let count: u32 = count.parse().unwrap();
            (0..=count).map(move |n: u32| f64::from(n).mul_add(step, first))
        };
        Self { labels, every: every.as_secs_f64(), values: values.split(' ').flat_map(some).collect() }
    }

    /// The samples in a range of time, with their times.
    fn between(&self, from: f64, to: f64) -> Vec<(f64, f64)> {
        let samples = self.values.iter().scan(0.0, |at, value| Some((std::mem::replace(at, *at + self.every), *value)));
        samples.filter(|(at, _)| (from..=to).contains(at)).collect()
    }
}

/// The result of a query at a time, in seconds.
pub(super) fn evaluate(expr: &Expr, all: &[Series], at: f64) -> Vector {
    match expr {
        Expr::VectorSelector(selector) => selected(selector, all, at, LOOKBACK)
            .filter_map(|(series, samples)| Some((series.labels.clone(), samples.last()?.1)))
            .collect(),
        Expr::Aggregate(aggregate) => summed(aggregate, all, at),
        Expr::Binary(binary) => combined(binary, all, at),
        Expr::Paren(paren) => evaluate(&paren.expr, all, at),
        Expr::Call(call) => match (call.func.name, &*call.args.args) {
            ("rate" | "increase", [range]) => {
                let Expr::MatrixSelector(matrix) = &**range else { panic!("{expr}") };
                let seconds = matrix.range.as_secs_f64();
                let per = if call.func.name == "rate" { seconds } else { 1.0 };
                selected(&matrix.vs, all, at, seconds)
                    .filter_map(|(series, samples)| {
                        Some((without_name(&series.labels), increase(&samples, at - seconds, at)? / per))
                    })
                    .collect()
            }
            ("histogram_quantile", [quantile, buckets]) => {
                let Expr::NumberLiteral(quantile) = &**quantile else { panic!("{expr}") };
                quantiles(quantile.val, evaluate(buckets, all, at))
            }
            _ => panic!("{expr}"),
        },
        _ => panic!("{expr}"),
    }
}

fn selected<'a>(
    selector: &'a VectorSelector,
    all: &'a [Series],
    at: f64,
    range: f64,
) -> impl Iterator<Item = (&'a Series, Vec<(f64, f64)>)> {
    let at = match selector.offset {
        None => at,
        Some(Offset::Pos(back)) => at - back.as_secs_f64(),
        Some(Offset::Neg(_)) => panic!("{selector}"),
    };
    fn label<'a>(series: &'a Series, name: &str) -> &'a str {
        series.labels.get(name).map_or("", String::as_str)
    }
    let is_it = move |series: &&Series| {
        selector.name.as_deref() == Some(label(series, "__name__"))
            && selector.matchers.matchers.iter().all(|matcher| matcher.is_match(label(series, &matcher.name)))
    };
    all.iter().filter(is_it).map(move |series| (series, series.between(at - range, at)))
}

/// By how much a counter grew in a range, extrapolated to its ends as Prometheus does.
fn increase(samples: &[(f64, f64)], from: f64, to: f64) -> Option<f64> {
    let [(first, value), .., (last, _)] = *samples else { return None };
    let grown: f64 =
        samples.windows(2).map(|two| if two[1].1 < two[0].1 { two[1].1 } else { two[1].1 - two[0].1 }).sum();
    let (covered, mut before, after) = (last - first, first - from, to - last);
    let pause = covered / (samples.len() - 1) as f64;
    if grown > 0.0 {
        before = before.min(covered * value / grown); // A counter was never below zero.
    }
    let beyond = |gap: f64| if gap < pause * 1.1 { gap } else { pause / 2.0 };
    Some(grown * (covered + beyond(before) + beyond(after)) / covered)
}

fn quantiles(quantile: f64, buckets: Vector) -> Vector {
    let mut histograms: BTreeMap<Labels, Vec<(f64, f64)>> = BTreeMap::new();
    for (mut labels, count) in buckets {
        let bound = labels.remove("le").unwrap().parse().unwrap();
        histograms.entry(without_name(&labels)).or_default().push((bound, count));
    }
    let value = |mut buckets: Vec<(f64, f64)>| {
        buckets.sort_by(|one, other| one.0.total_cmp(&other.0));
        let rank = quantile * buckets.last().unwrap().1;
        let at = buckets.iter().position(|(_, count)| *count >= rank && rank > 0.0)?;
        let (below, fewer) = at.checked_sub(1).map_or((0.0, 0.0), |before| buckets[before]);
        let (bound, count) = buckets[at];
        Some(if bound.is_finite() { below + (bound - below) * (rank - fewer) / (count - fewer) } else { below })
    };
    histograms.into_iter().filter_map(|(labels, buckets)| Some((labels, value(buckets)?))).collect()
}

fn summed(aggregate: &AggregateExpr, all: &[Series], at: f64) -> Vector {
    let (op, Some(LabelModifier::Include(by))) = (aggregate.op.to_string(), &aggregate.modifier) else {
        panic!("{aggregate}");
    };
    assert_eq!(op, "sum", "{aggregate}");
    let mut sums: BTreeMap<Labels, f64> = BTreeMap::new();
    for (mut labels, value) in evaluate(&aggregate.expr, all, at) {
        labels.retain(|label, _| by.labels.contains(label));
        *sums.entry(labels).or_default() += value;
    }
    sums.into_iter().collect()
}

fn combined(binary: &BinaryExpr, all: &[Series], at: f64) -> Vector {
    assert!(binary.modifier.as_ref().is_none_or(|modifier| modifier.matching.is_none()), "{binary}");
    let op = binary.op.to_string();
    if let Expr::NumberLiteral(left) = &*binary.lhs {
        assert_eq!(op, "*", "{binary}");
        let times = |(labels, value): (Labels, f64)| (without_name(&labels), left.val * value);
        return evaluate(&binary.rhs, all, at).into_iter().map(times).collect();
    }
    let (number, vector) = match &*binary.rhs {
        Expr::NumberLiteral(right) => (Some(right.val), BTreeMap::new()),
        right => {
            let vector = evaluate(right, all, at).into_iter().map(|(labels, value)| (without_name(&labels), value));
            (None, vector.collect())
        }
    };
    let one = |(labels, left): (Labels, f64)| {
        let right = number.or_else(|| vector.get(&without_name(&labels)).copied())?;
        match &*op {
            "and" => Some((labels, left)),
            "==" => (left == right).then_some((labels, left)),
            ">" => (left > right).then_some((labels, left)),
            "<" => (left < right).then_some((labels, left)),
            "/" => Some((without_name(&labels), left / right)),
            _ => panic!("{binary}"),
        }
    };
    evaluate(&binary.lhs, all, at).into_iter().filter_map(one).collect()
}

fn without_name(labels: &Labels) -> Labels {
    labels
        .iter()
        .filter(|(label, _)| *label != "__name__")
        .map(|(label, value)| (label.clone(), value.clone()))
        .collect()
}
