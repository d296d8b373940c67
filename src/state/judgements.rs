//! Converts outlier states to and from their record.
//!
//! The agent counts time from its own start, so the record has times of the wall clock. A restored
//! ejection never lasts longer than it was meant to, even if the clock was set meanwhile. Request
//! counts restart with the agent, and so does a probation.

use std::{
    collections::HashMap,
    net::SocketAddr,
    time::{Duration, SystemTime},
};

use super::record::{self, InvalidRecord, nanoseconds, time};
use crate::{
    catalog::Labels,
    plan::{
        OutlierState,
        model::{Phase, Probation},
    },
    publish::{Judgements, Target, TargetKind},
};

/// Both clocks at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// As [`crate::clock::now`].
    pub now: Duration,
    /// As [`crate::clock::wall`].
    pub wall: SystemTime,
}

impl Moment {
    /// Reads both clocks.
    #[must_use]
    pub fn read() -> Self {
        Self { now: crate::clock::now(), wall: crate::clock::wall() }
    }

    fn wall(&self, monotonic: Duration) -> i64 {
        let wall = match monotonic.checked_sub(self.now) {
            Some(ahead) => self.wall + ahead,
            None => self.wall - (self.now - monotonic),
        };
        nanoseconds(wall)
    }

    fn monotonic(&self, wall: i64) -> Duration {
        match time(wall).duration_since(self.wall) {
            Ok(ahead) => self.now + ahead,
            Err(past) => self.now.saturating_sub(past.duration()),
        }
    }
}

/// Makes the record of judgements.
pub fn write(judgements: &Judgements, moment: Moment) -> Vec<record::Judgement> {
    let of = |(target, outlier_states): (&Target, &HashMap<SocketAddr, OutlierState>)| {
        record::Judgement {
            target: Some(write_target(target)),
            outlier_states: outlier_states
                .iter()
                .map(|(address, outlier_state)| record::OutlierState {
                    address: address.to_string(),
                    ejected_until: match outlier_state.phase {
                        Phase::Ejected { until } => Some(moment.wall(until)),
                        _ => None,
                    },
                    probing: matches!(outlier_state.phase, Phase::Probing(_)),
                    times: outlier_state.times,
                    last: u64::try_from(outlier_state.last.as_nanos()).unwrap_or(u64::MAX),
                    since: moment.wall(outlier_state.since),
                })
                .collect(),
        }
    };
    judgements.iter().map(of).collect()
}

/// Reads judgements.
///
/// # Errors
/// The record is invalid.
pub fn read(written: &[record::Judgement], moment: Moment) -> Result<Judgements, InvalidRecord> {
    let mut judgements = Judgements::new();
    for judgement in written {
        let target = judgement.target.as_ref().ok_or_else(|| InvalidRecord::new("no target"))?;
        let mut outlier_states = HashMap::new();
        for outlier_state in &judgement.outlier_states {
            let address = outlier_state.address.parse();
            let address = address.map_err(|error| InvalidRecord::new(format!("{error}")))?;
            outlier_states.insert(address, read_outlier_state(outlier_state, moment));
        }
        judgements.insert(read_target(target)?, outlier_states);
    }
    Ok(judgements)
}

fn read_outlier_state(written: &record::OutlierState, moment: Moment) -> OutlierState {
    let last = Duration::from_nanos(written.last);
    let latest = moment.now + last;
    OutlierState {
        phase: match written.ejected_until {
            Some(until) => Phase::Ejected { until: moment.monotonic(until).min(latest) },
            None if written.probing => {
                let (began, heard, free) = (moment.now, moment.now, moment.now);
                Phase::Probing(Probation { began, heard, free, ..Probation::default() })
            }
            None => Phase::Clear,
        },
        times: written.times,
        last,
        since: moment.monotonic(written.since).min(latest),
        unreachable_seen: 0,
    }
}

/// Makes the record of a table's target.
pub fn write_target(target: &Target) -> record::Target {
    let (name, number) = &target.port;
    record::Target {
        service: target.service.to_string(),
        port_name: name.as_deref().map(str::to_owned),
        port_number: number.map(u32::from),
        selector: target.selector.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect(),
        by_virtual_ip: target.way == TargetKind::VirtualIp,
    }
}

/// Reads a table's target.
///
/// # Errors
/// The record is invalid.
pub fn read_target(written: &record::Target) -> Result<Target, InvalidRecord> {
    let service = written.service.parse();
    let number = written.port_number.map(u16::try_from).transpose();
    let selector = written.selector.iter().map(|(k, v)| (k.as_str().into(), v.as_str().into()));
    Ok(Target {
        service: service.map_err(|error| InvalidRecord::new(format!("{error}")))?,
        port: (
            written.port_name.as_deref().map(Into::into),
            number.map_err(|error| InvalidRecord::new(format!("a port: {error}")))?,
        ),
        selector: selector.collect::<Labels>(),
        way: if written.by_virtual_ip { TargetKind::VirtualIp } else { TargetKind::Balanced },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn at(now: u32, wall: u32) -> Moment {
        Moment { now: now * SECOND, wall: SystemTime::UNIX_EPOCH + wall * SECOND }
    }

    fn target() -> Target {
        Target {
            service: "cart.shop".parse().unwrap(),
            port: (Some("grpc".into()), Some(9090)),
            selector: Labels::from([("shard".into(), "1".into())]),
            way: TargetKind::VirtualIp,
        }
    }

    fn ejected() -> OutlierState {
        OutlierState {
            phase: Phase::Ejected { until: 130 * SECOND },
            times: 2,
            last: 60 * SECOND,
            since: 130 * SECOND,
            unreachable_seen: 7,
        }
    }

    fn restored(outlier_state: OutlierState, later: Moment) -> OutlierState {
        let address = "10.0.0.1:80".parse().unwrap();
        let judgements = Judgements::from([(target(), HashMap::from([(address, outlier_state)]))]);
        let back = read(&write(&judgements, at(100, 5000)), later).unwrap();
        back[&target()][&address]
    }

    #[test]
    fn an_ejection_ends_when_it_was_meant_to_in_an_agent_that_counts_from_its_own_start() {
        let back = restored(ejected(), at(0, 5010));
        assert_eq!(back.phase, Phase::Ejected { until: 20 * SECOND });
        assert_eq!((back.times, back.last, back.since), (2, 60 * SECOND, 20 * SECOND));
        assert_eq!(back.unreachable_seen, 0);
    }

    #[test]
    fn a_clock_set_back_makes_no_ejection_longer_than_it_was() {
        let back = restored(ejected(), at(0, 10));
        assert_eq!(back.phase, Phase::Ejected { until: 60 * SECOND });
    }

    #[test]
    fn probation_begins_anew_with_the_counts() {
        let phase = Phase::Probing(Probation { succeeded: 40, failed: 9, ..Probation::default() });
        let back = restored(OutlierState { phase, ..ejected() }, at(3, 5010));
        let (began, heard, free) = (3 * SECOND, 3 * SECOND, 3 * SECOND);
        let anew = Probation { began, heard, free, ..Probation::default() };
        assert_eq!(back.phase, Phase::Probing(anew));
    }
}
