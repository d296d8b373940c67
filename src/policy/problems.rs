//! The invalid settings of a service: the first ones as text, the rest as a number. Whoever may
//! write annotations must not be able to make every list long.

use super::{ConfigPolicies, resolve};
use crate::catalog::Service;

/// How many invalid settings of a service are listed as text.
const TOLD: usize = 10;

/// The invalid settings of one service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Problems {
    /// The first ones.
    pub told: Vec<Problem>,
    /// How many more there are.
    pub more: usize,
}

/// One wrong setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where it is, what is wrong, what would be valid, and which value holds instead.
    pub text: String,
    /// The same without the line in a file, to recognize it after the line moved.
    pub anywhere: String,
}

/// The invalid settings of a service; nearly all services have none.
pub fn problems(config: &ConfigPolicies, service: &Service) -> Problems {
    // The configuration is valid: a file with an invalid setting is refused.
    let wrong = || service.settings.iter().filter(|setting| setting.wrong.is_some());
    if wrong().next().is_none() {
        return Problems::default();
    }
    let resolved = resolve(config, service);
    let more = resolved.problems.len().saturating_sub(TOLD);
    let texts: Vec<String> = resolved.problems.into_iter().take(TOLD).collect();
    // A text names only these places.
    let of_service = wrong().take(texts.len()).map(|setting| &setting.origin);
    let mut places: Vec<_> =
        of_service.chain(resolved.origins.iter().map(|holds| &holds.origin)).collect();
    // Longest first, since "line 12" begins with "line 1".
    places.sort_by_key(|place| std::cmp::Reverse(place.len()));
    let told = texts.into_iter().map(|text| {
        let anywhere = places
            .iter()
            .fold(text.clone(), |text, place| text.replace(&***place, without_line(place)));
        Problem { text, anywhere }
    });
    Problems { told: told.collect(), more }
}

/// `services file a.yaml:12` without the number.
fn without_line(origin: &str) -> &str {
    let line = |line: &str| !line.is_empty() && line.bytes().all(|byte| byte.is_ascii_digit());
    match origin.rsplit_once(':') {
        Some((file, after)) if line(after) => file,
        _ => origin,
    }
}

impl Problems {
    /// How many settings are invalid.
    pub fn count(&self) -> usize {
        self.told.len() + self.more
    }

    /// The first ones, and how many more there are.
    pub fn texts(self) -> Vec<String> {
        let more = self.others();
        self.told.into_iter().map(|problem| problem.text).chain(more).collect()
    }

    /// How many more there are, in words.
    pub fn others(&self) -> Option<String> {
        match self.more {
            0 => None,
            1 => Some("1 more setting is wrong".to_owned()),
            more => Some(format!("{more} more settings are wrong")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        catalog::{Setting, sample::service},
        policy::settings::validated,
    };

    fn of(settings: impl IntoIterator<Item = (String, &'static str, String)>) -> Problems {
        let settings = settings.into_iter();
        let settings =
            validated(settings.map(|(key, value, origin)| Setting::new(key, value, origin)));
        let service = Service { settings, ..service("cart.shop", []) };
        problems(&ConfigPolicies::default(), &service)
    }

    #[test]
    fn of_many_wrong_settings_the_first_are_told_and_all_are_counted() {
        let keys =
            |count| (0..count).map(|nth| (format!("key-{nth:02}"), "?", "annotation".into()));
        let many = of(keys(100));
        assert_eq!((many.told.len(), many.count()), (10, 100));
        assert_eq!(many.texts()[10], "90 more settings are wrong");
        assert_eq!(of(keys(11)).texts()[10], "1 more setting is wrong");
        assert_eq!(of(keys(10)).texts().len(), 10);
        assert_eq!(of(keys(0)), Problems::default());
    }

    #[test]
    fn a_problem_is_the_same_wherever_it_stands_in_its_file() {
        let at = |line: u32| {
            let place = |line| format!("services file a.yaml:{line}");
            of([
                ("mode".into(), "offf", place(line)),
                ("outlier.base_ejection".into(), "10m", place(10 * line + 1)),
                ("outlier.max_ejection".into(), "5m", place(10 * line + 2)),
            ])
        };
        let [here, there] = [at(1), at(12)];
        assert_eq!(here.told.len(), 3, "{here:?}");
        for (one, other) in here.told.iter().zip(&there.told) {
            assert_ne!(one.text, other.text);
            assert_eq!(one.anywhere, other.anywhere);
        }
        assert!(here.told[0].anywhere.starts_with("services file a.yaml: mode is \"offf\""));
    }

    #[test]
    fn a_problem_is_the_same_where_the_configuration_moved() {
        let settings = validated([Setting::new("mode", "offf", "annotation")]);
        let service = Service { settings, ..service("cart.shop", []) };
        let at = |line: u32| {
            let place = format!("configuration's override agent.yaml:{line}");
            let mut config = ConfigPolicies::default();
            config.overriding.all = vec![Setting::new("mode", "on", place)];
            problems(&config, &service).told.remove(0)
        };
        assert!(at(3).text.ends_with("it is on, as configuration's override agent.yaml:3 says"));
        assert_eq!(at(3).anywhere, at(12).anywhere);
    }
}
