//! Writes a metric.

use std::fmt;

use prometheus_client::{
    encoding::{DescriptorEncoder, MetricEncoder},
    metrics::MetricType,
    registry::Unit,
};

type NoLabels = prometheus_client::encoding::NoLabelSet;

pub(super) fn counters<'e>(
    to: &'e mut DescriptorEncoder<'_>,
    name: &'e str,
    help: &str,
) -> Result<MetricEncoder<'e>, fmt::Error> {
    to.encode_descriptor(name, help, None, MetricType::Counter)
}

pub(super) fn count_one(
    metric: &mut MetricEncoder<'_>,
    labels: &[(&str, &str)],
    count: u64,
) -> fmt::Result {
    match labels {
        [a] => metric.encode_family(&[*a])?.encode_counter::<NoLabels, _, u64>(&count, None),
        [a, b] => metric.encode_family(&[*a, *b])?.encode_counter::<NoLabels, _, u64>(&count, None),
        [a, b, c] => {
            metric.encode_family(&[*a, *b, *c])?.encode_counter::<NoLabels, _, u64>(&count, None)
        }
        _ => count_alone(metric, count),
    }
}

pub(super) fn count_alone(metric: &mut MetricEncoder<'_>, count: u64) -> fmt::Result {
    metric.encode_counter::<NoLabels, _, u64>(&count, None)
}

pub(super) fn gauge(
    to: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    value: u64,
) -> fmt::Result {
    to.encode_descriptor(name, help, None::<&Unit>, MetricType::Gauge)?.encode_gauge(&value)
}
