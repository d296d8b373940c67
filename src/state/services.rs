//! Converts services to and from their record.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    num::NonZeroU64,
    sync::Arc,
    time::SystemTime,
};

use bytes::Bytes;

use super::record::{self, InvalidRecord, nanoseconds, time};
use crate::catalog::{
    Eligibility, Endpoint, Health, Hints, Labels, LastGood, Port, PreviousValue, Service, Setting,
    SettingError, SourceId,
};

/// Makes the record of services. `sources`: as configured; `now`: for services that their source
/// confirms.
pub fn write(kept: &[LastGood], sources: &[String], now: SystemTime) -> record::State {
    let mut writing = Writing::default();
    let services = kept.iter().map(|kept| writing.service(kept, sources, now)).collect();
    let Writing { texts, labels, hints, .. } = writing;
    record::State {
        texts: texts.entries,
        labels: labels.entries,
        hints: hints.entries,
        services,
        judgements: Vec::new(),
        place: None,
    }
}

/// Reads the services of sources that are still configured.
///
/// # Errors
/// The record is invalid.
pub fn read(state: &record::State, sources: &[String]) -> Result<Vec<LastGood>, InvalidRecord> {
    let mut reading = Reading {
        texts: state.texts.iter().map(|it| Arc::from(&**it)).collect(),
        ..Reading::default()
    };
    reading.labels =
        state.labels.iter().map(|set| reading.label_set(set)).collect::<Result<_, _>>()?;
    reading.hints =
        state.hints.iter().map(|hints| reading.hint(hints)).collect::<Result<_, _>>()?;
    let mut kept = Vec::with_capacity(state.services.len());
    for service in &state.services {
        let source = reading.text(service.source)?;
        if let Some(index) = sources.iter().position(|it| source.as_deref() == Some(it)) {
            kept.push(LastGood {
                service: Arc::new(reading.service(service)?),
                source: SourceId(index),
                confirmed: Some(time(service.confirmed)),
            });
        }
    }
    Ok(kept)
}

/// A list of distinct entries, each with its number.
struct Numbered<K, E> {
    numbers: HashMap<K, u32>,
    entries: Vec<E>,
}

impl<K, E> Default for Numbered<K, E> {
    fn default() -> Self {
        Self { numbers: HashMap::new(), entries: Vec::new() }
    }
}

impl<K: Clone + Eq + std::hash::Hash, E> Numbered<K, E> {
    fn number(&mut self, key: &K, entry: impl FnOnce() -> E) -> u32 {
        if let Some(number) = self.numbers.get(key) {
            return *number;
        }
        self.entries.push(entry());
        let number = self.entries.len() as u32;
        self.numbers.insert(key.clone(), number);
        number
    }
}

#[derive(Default)]
struct Writing {
    texts: Numbered<Arc<str>, String>,
    labels: Numbered<Arc<Labels>, record::Labels>,
    hints: Numbered<Arc<Hints>, record::Hints>,
}

impl Writing {
    fn service(&mut self, kept: &LastGood, sources: &[String], now: SystemTime) -> record::Service {
        let Service { name, ports, settings, source, notes, .. } = &*kept.service;
        let configured: Arc<str> = sources.get(kept.source.0).map_or("", String::as_str).into();
        record::Service {
            name: name.to_string(),
            source: self.text(&configured),
            told_source: self.text(source),
            confirmed: nanoseconds(kept.confirmed.unwrap_or(now)),
            ports: ports.iter().map(|port| self.port(port)).collect(),
            settings: settings.iter().map(written).collect(),
            notes: notes.clone(),
        }
    }

    fn port(&mut self, port: &Port) -> record::Port {
        record::Port {
            name: self.optional(port.name.as_ref()),
            number: port.number.map(u32::from),
            endpoints: port.endpoints.iter().map(|endpoint| self.endpoint(endpoint)).collect(),
        }
    }

    fn endpoint(&mut self, endpoint: &Endpoint) -> record::Endpoint {
        record::Endpoint {
            ip: match endpoint.address.ip() {
                IpAddr::V4(ip) => Bytes::copy_from_slice(&ip.octets()),
                IpAddr::V6(ip) => Bytes::copy_from_slice(&ip.octets()),
            },
            port: endpoint.address.port().into(),
            region: self.optional(endpoint.region.as_ref()),
            zone: self.optional(endpoint.zone.as_ref()),
            node: self.optional(endpoint.node.as_ref()),
            weight: endpoint.weight,
            health: match endpoint.health {
                Health::Ready => 0,
                Health::Draining => 1,
                Health::Unready => 2,
            },
            labels: self.label_set(&endpoint.labels),
            ready_since: endpoint.ready_since.map(nanoseconds),
            server_name: self.optional(endpoint.server_name.as_ref()),
            hints: endpoint.hints.as_ref().map_or(0, |hints| self.hint(hints)),
            pod: endpoint.pod.map_or(0, NonZeroU64::get),
            priority: endpoint.priority.into(),
        }
    }

    fn label_set(&mut self, labels: &Arc<Labels>) -> u32 {
        if labels.is_empty() {
            return 0;
        }
        let texts = &mut self.texts;
        self.labels.number(labels, || record::Labels {
            pairs: labels
                .iter()
                .flat_map(|(key, value)| [key, value])
                .map(|text| texts.number(text, || text.to_string()))
                .collect(),
        })
    }

    fn hint(&mut self, hints: &Arc<Hints>) -> u32 {
        let texts = &mut self.texts;
        let mut numbers = |list: &[Arc<str>]| {
            list.iter().map(|text| texts.number(text, || text.to_string())).collect()
        };
        self.hints.number(hints, || record::Hints {
            zones: numbers(&hints.zones),
            nodes: numbers(&hints.nodes),
        })
    }

    fn optional(&mut self, text: Option<&Arc<str>>) -> u32 {
        text.map_or(0, |text| self.text(text))
    }

    fn text(&mut self, text: &Arc<str>) -> u32 {
        self.texts.number(text, || text.to_string())
    }
}

fn written(setting: &Setting) -> record::Setting {
    let Setting { key, value, origin, implied, wrong } = setting.clone();
    let (wrong, before) = wrong.map(|wrong| (wrong.why, wrong.before)).unzip();
    let known = matches!(before, Some(PreviousValue::Unset | PreviousValue::Value(_)));
    let before = before.and_then(|before| match before {
        PreviousValue::Value(value) => Some(value),
        PreviousValue::Unknown | PreviousValue::Unset => None,
    });
    record::Setting { key, value, origin, implied, wrong, known, before }
}

fn setting(written: &record::Setting) -> Setting {
    let record::Setting { key, value, origin, implied, wrong, known, before } = written.clone();
    let before = match (known, before) {
        (_, Some(value)) => PreviousValue::Value(value),
        (true, None) => PreviousValue::Unset,
        (false, None) => PreviousValue::Unknown,
    };
    let wrong = wrong.map(|why| Box::new(SettingError { why, before }));
    Setting { key, value, origin, implied, wrong }
}

#[derive(Default)]
struct Reading {
    texts: Vec<Arc<str>>,
    labels: Vec<Arc<Labels>>,
    hints: Vec<Arc<Hints>>,
    no_labels: Arc<Labels>,
}

impl Reading {
    fn service(&self, service: &record::Service) -> Result<Service, InvalidRecord> {
        let name = service.name.parse();
        Ok(Service {
            name: name.map_err(|error| InvalidRecord::new(format!("{error}")))?,
            ports: service.ports.iter().map(|it| self.port(it)).collect::<Result<_, _>>()?,
            settings: service.settings.iter().map(setting).collect(),
            fallback: Vec::new(),
            source: self.text(service.told_source)?.unwrap_or_default(),
            // The source tells these again.
            uid: None,
            version: 0,
            stale: false,
            source_brakes: false,
            // The record has eligible endpoints only.
            eligibility: Eligibility::default(),
            notes: service.notes.clone(),
        })
    }

    fn port(&self, port: &record::Port) -> Result<Port, InvalidRecord> {
        let endpoints = port.endpoints.iter().map(|endpoint| self.endpoint(endpoint));
        Ok(Port {
            name: self.text(port.name)?,
            number: port.number.map(port_number).transpose()?,
            endpoints: endpoints.collect::<Result<_, _>>()?,
        })
    }

    fn endpoint(&self, endpoint: &record::Endpoint) -> Result<Endpoint, InvalidRecord> {
        let ip = match *endpoint.ip {
            [a, b, c, d] => IpAddr::from([a, b, c, d]),
            ref ip => IpAddr::from(
                <[u8; 16]>::try_from(ip)
                    .map_err(|_| InvalidRecord::new("an address of neither 4 nor 16 bytes"))?,
            ),
        };
        Ok(Endpoint {
            address: SocketAddr::new(ip, port_number(endpoint.port)?),
            region: self.text(endpoint.region)?,
            zone: self.text(endpoint.zone)?,
            node: self.text(endpoint.node)?,
            weight: endpoint.weight,
            health: match endpoint.health {
                0 => Health::Ready,
                1 => Health::Draining,
                2 => Health::Unready,
                other => return Err(InvalidRecord::new(format!("a health of {other}"))),
            },
            labels: named(&self.labels, endpoint.labels)?.unwrap_or_else(|| self.no_labels.clone()),
            ready_since: endpoint.ready_since.map(time),
            server_name: self.text(endpoint.server_name)?,
            priority: u8::try_from(endpoint.priority)
                .map_err(|_| InvalidRecord::new(format!("a priority of {}", endpoint.priority)))?,
            braked: false,
            hints: named(&self.hints, endpoint.hints)?,
            pod: NonZeroU64::new(endpoint.pod),
        })
    }

    fn label_set(&self, set: &record::Labels) -> Result<Arc<Labels>, InvalidRecord> {
        let pairs = set.pairs.as_chunks::<2>().0.iter();
        let pair = |[key, value]: &[u32; 2]| {
            Ok((self.text(*key)?.unwrap_or_default(), self.text(*value)?.unwrap_or_default()))
        };
        Ok(Arc::new(pairs.map(pair).collect::<Result<_, _>>()?))
    }

    fn hint(&self, hints: &record::Hints) -> Result<Arc<Hints>, InvalidRecord> {
        let texts = |list: &[u32]| {
            let text = |text: &u32| Ok(self.text(*text)?.unwrap_or_default());
            list.iter().map(text).collect::<Result<Vec<_>, InvalidRecord>>()
        };
        Ok(Arc::new(Hints { zones: texts(&hints.zones)?, nodes: texts(&hints.nodes)? }))
    }

    fn text(&self, number: u32) -> Result<Option<Arc<str>>, InvalidRecord> {
        named(&self.texts, number)
    }
}

fn named<T: ?Sized>(entries: &[Arc<T>], number: u32) -> Result<Option<Arc<T>>, InvalidRecord> {
    match number.checked_sub(1) {
        None => Ok(None),
        Some(index) => match entries.get(index as usize) {
            Some(entry) => Ok(Some(entry.clone())),
            None => Err(InvalidRecord::new(format!("entry {number} of {}", entries.len()))),
        },
    }
}

fn port_number(number: u32) -> Result<u16, InvalidRecord> {
    u16::try_from(number).map_err(|_| InvalidRecord::new(format!("port {number}")))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::catalog::sample::{endpoint, port, service, with_ports};

    const CONFIRMED: SystemTime = SystemTime::UNIX_EPOCH;

    fn full() -> Service {
        let labels = Labels::from([("shard".into(), "1".into())]);
        let hints = Hints { zones: vec!["a".into()], nodes: vec!["n".into(), "m".into()] };
        let rich = Endpoint {
            address: "[2001:db8::1]:443".parse().unwrap(),
            region: Some("eu".into()),
            zone: Some("a".into()),
            node: Some("n".into()),
            weight: 0,
            health: Health::Draining,
            labels: Arc::new(labels),
            ready_since: Some(CONFIRMED + Duration::new(1_700_000_000, 123)),
            server_name: Some("cart.example".into()),
            priority: 1,
            braked: false,
            hints: Some(Arc::new(hints)),
            pod: NonZeroU64::new(u64::MAX),
        };
        let mut full =
            with_ports("cart.shop@west", vec![port("grpc", 9090, [rich]), port("http", 80, [])]);
        let setting = || Setting::new("choices", "3", "services.yaml:3");
        let wrong = |before| {
            let why = "it is wrong".into();
            Setting { wrong: Some(Box::new(SettingError { why, before })), ..setting() }
        };
        full.settings = vec![
            setting(),
            Setting { implied: true, ..setting() },
            wrong(PreviousValue::Unknown),
            wrong(PreviousValue::Unset),
            wrong(PreviousValue::Value("2".into())),
        ];
        full.notes.push("as it was".into());
        full
    }

    #[test]
    fn services_read_back_as_they_were_written() {
        let kept = |service| LastGood {
            service: Arc::new(service),
            source: SourceId(1),
            confirmed: Some(CONFIRMED),
        };
        let all = [kept(full()), kept(service("pay.shop", [endpoint(1), endpoint(2)]))];
        let sources = ["file:a".to_owned(), "file:b".to_owned()];
        let state = write(&all, &sources, CONFIRMED);
        let back = read(&state, &sources).unwrap();
        for (before, after) in all.iter().zip(&back) {
            assert_eq!(before.service, after.service);
            assert_eq!((before.source, before.confirmed), (after.source, after.confirmed));
        }
        // In another order, and with one source gone.
        assert_eq!(read(&state, &["file:b".to_owned()]).unwrap()[0].source, SourceId(0));
        assert!(read(&state, &["file:a".to_owned()]).unwrap().is_empty());
    }

    #[test]
    fn what_a_source_vouches_for_now_is_confirmed_now() {
        let kept = LastGood { service: Arc::new(full()), source: SourceId(0), confirmed: None };
        let now = CONFIRMED + Duration::from_secs(7);
        let state = write(&[kept], &["s".to_owned()], now);
        assert_eq!(read(&state, &["s".to_owned()]).unwrap()[0].confirmed, Some(now));
    }

    #[test]
    fn a_number_that_names_nothing_is_refused() {
        let kept = LastGood { service: Arc::new(full()), source: SourceId(0), confirmed: None };
        let sources = ["s".to_owned()];
        let mut state = write(&[kept], &sources, CONFIRMED);
        state.services[0].ports[0].endpoints[0].zone = 99;
        let error = read(&state, &sources).unwrap_err();
        assert!(error.to_string().contains("entry 99 of"), "{error}");
    }
}
