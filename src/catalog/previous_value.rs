//! Remembers the last valid value of a setting.
//!
//! An invalid value must not send traffic somewhere new. So the value before it stays in force,
//! however many invalid ones follow.

use super::model::{PreviousValue, Setting};

/// Records in each invalid setting what its source said before. `before`: the service's settings
/// then; None: the service was not known, and what the source itself remembers counts.
pub(super) fn remember(settings: &mut [Setting], before: Option<&[Setting]>) {
    for setting in settings {
        if let (Some(wrong), Some(before)) = (&mut setting.wrong, before) {
            wrong.before = value(&setting.key, before);
        }
    }
}

/// If a key has several settings, the last one holds.
fn value(key: &str, before: &[Setting]) -> PreviousValue {
    match before.iter().rfind(|other| other.key == key) {
        None => PreviousValue::Unset,
        Some(Setting { wrong: Some(wrong), .. }) => wrong.before.clone(),
        Some(Setting { implied: true, .. }) => PreviousValue::Unset,
        Some(setting) => PreviousValue::Value(setting.value.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::model::SettingError, *};

    fn right(key: &str, value: &str) -> Setting {
        Setting::new(key, value, "annotation")
    }

    fn wrong(key: &str) -> Setting {
        let wrong = SettingError { why: "it is wrong".into(), before: PreviousValue::Unknown };
        Setting { wrong: Some(Box::new(wrong)), ..right(key, "?") }
    }

    fn remembered(key: &str, before: Option<&[Setting]>) -> PreviousValue {
        let mut settings = [wrong(key)];
        remember(&mut settings, before);
        settings[0].wrong.as_ref().unwrap().before.clone()
    }

    #[test]
    fn what_was_right_last_is_remembered_over_any_number_of_errors() {
        let ten = PreviousValue::Value("10%".into());
        assert_eq!(remembered("mode", Some(&[right("mode", "10%")])), ten);
        let mut twice = [wrong("mode")];
        remember(&mut twice, Some(&[right("mode", "on"), right("mode", "10%")]));
        assert_eq!(remembered("mode", Some(&twice)), ten);
    }

    #[test]
    fn a_setting_that_was_not_there_and_a_service_that_was_not_are_told_apart() {
        assert_eq!(remembered("mode", Some(&[right("zone", "off")])), PreviousValue::Unset);
        assert_eq!(remembered("mode", None), PreviousValue::Unknown);
        let implied = Setting { implied: true, ..right("zone", "prefer") };
        assert_eq!(remembered("zone", Some(&[implied])), PreviousValue::Unset);
    }
}
