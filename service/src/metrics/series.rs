//! Metrics with labels that are known when the text is written. Must not know what they mean.

use std::fmt;

use prometheus_client::{
    encoding::{EncodeMetric, MetricEncoder, NoLabelSet},
    metrics::MetricType,
};
use relogin_gateway::Times;
use relogin_host::durations::{DurationCounts, Durations};

/// Values by their labels.
type Series<T> = Vec<(Vec<(&'static str, &'static str)>, T)>;

/// Counters.
#[derive(Debug)]
pub(super) struct Counters(Series<u64>);

/// Gauges.
#[derive(Debug)]
pub(super) struct Gauges(Series<i64>);

/// Histograms.
#[derive(Debug)]
pub(super) struct Histograms(Series<Histogram>);

/// How long something took, in seconds.
#[derive(Debug)]
pub(super) struct Histogram {
    sum: f64,
    /// By upper bound.
    buckets: Vec<(f64, u64)>,
}

impl Counters {
    pub(super) fn by(label: &'static str, values: impl IntoIterator<Item = (&'static str, u64)>) -> Self {
        Self(series(label, values))
    }

    pub(super) fn by_two(
        [first, second]: [&'static str; 2],
        values: impl IntoIterator<Item = ([&'static str; 2], u64)>,
    ) -> Self {
        Self(values.into_iter().map(|([one, other], value)| (vec![(first, one), (second, other)], value)).collect())
    }
}

impl Gauges {
    pub(super) fn by<T: TryInto<i64>>(
        label: &'static str,
        values: impl IntoIterator<Item = (&'static str, T)>,
    ) -> Self {
        let values = values.into_iter().map(|(name, value)| (name, value.try_into().unwrap_or(i64::MAX)));
        Self(series(label, values))
    }
}

impl Histograms {
    pub(super) fn by<T: Into<Histogram>>(
        label: &'static str,
        values: impl IntoIterator<Item = (&'static str, T)>,
    ) -> Self {
        Self(series(label, values.into_iter().map(|(name, times)| (name, times.into()))))
    }

    pub(super) fn one(times: impl Into<Histogram>) -> Self {
        Self(vec![(Vec::new(), times.into())])
    }
}

impl From<Times> for Histogram {
    fn from(times: Times) -> Self {
        let bounds = Times::BOUNDS.iter().map(|ms| *ms as f64 / 1e3).chain([f64::INFINITY]);
        Self { sum: times.sum.as_secs_f64(), buckets: bounds.zip(times.buckets).collect() }
    }
}

impl From<DurationCounts> for Histogram {
    fn from(counts: DurationCounts) -> Self {
        let bounds = Durations::BOUNDS.iter().map(|us| *us as f64 / 1e6).chain([f64::INFINITY]);
        Self { sum: counts.sum.as_secs_f64(), buckets: bounds.zip(counts.buckets).collect() }
    }
}

fn series<T>(label: &'static str, values: impl IntoIterator<Item = (&'static str, T)>) -> Series<T> {
    values.into_iter().map(|(name, value)| (vec![(label, name)], value)).collect()
}

impl EncodeMetric for Counters {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|(labels, value)| {
            encoder.encode_family(labels)?.encode_counter::<NoLabelSet, _, u64>(value, None)
        })
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Counter
    }
}

impl EncodeMetric for Gauges {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|(labels, value)| encoder.encode_family(labels)?.encode_gauge(value))
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Gauge
    }
}

impl EncodeMetric for Histograms {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|(labels, Histogram { sum, buckets })| {
            let count = buckets.iter().map(|(_, count)| count).sum();
            // Braces without labels would be odd.
            if labels.is_empty() {
                return encoder.encode_histogram::<NoLabelSet>(*sum, count, buckets, None);
            }
            encoder.encode_family(labels)?.encode_histogram::<NoLabelSet>(*sum, count, buckets, None)
        })
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Histogram
    }
}
