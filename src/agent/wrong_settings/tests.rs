use super::*;
use crate::policy::problems::Problem;

fn found(problems: &[&str], more: usize) -> Problems {
    let problem = |it: &&str| Problem { text: format!("line 7: {it}"), anywhere: (*it).to_owned() };
    Problems { told: problems.iter().map(problem).collect(), more }
}

fn name(service: &str) -> ServiceName {
    service.parse().unwrap()
}

/// The lines of one turn, as "service: problem".
fn next_lines(log: &mut ProblemLog, most: usize) -> Vec<String> {
    let line = |(name, line): (ServiceName, Line)| match line {
        Line::Wrong(text) => format!("{name}: {}", text.replace("line 7: ", "")),
        Line::Mended => format!("{name} is mended"),
    };
    log.next_lines(most).into_iter().map(line).collect()
}

#[test]
fn a_wrong_setting_is_told_once_and_again_after_it_was_mended() {
    let mut log = ProblemLog::default();
    let mut of = |problems: &[&str]| {
        log.update(&name("cart.shop"), &found(problems, 0));
        next_lines(&mut log, 20)
    };
    assert_eq!(of(&["mode"]), ["cart.shop: mode"]);
    assert!(of(&["mode"]).is_empty());
    assert_eq!(of(&["zone", "mode"]), ["cart.shop: zone"]);
    assert_eq!(of(&[]), ["cart.shop is mended"]);
    assert!(of(&[]).is_empty());
    assert_eq!(of(&["mode"]), ["cart.shop: mode"]);
}

#[test]
fn a_service_that_is_gone_is_not_mended_and_one_never_told_of_neither() {
    let mut log = ProblemLog::default();
    for service in ["cart.shop", "pay.shop"] {
        log.update(&name(service), &found(&["mode"], 0));
    }
    assert_eq!(next_lines(&mut log, 1), ["cart.shop: mode"]);
    log.retain(|known| *known == name("pay.shop"));
    log.update(&name("cart.shop"), &found(&[], 0));
    log.update(&name("pay.shop"), &found(&[], 0));
    assert!(next_lines(&mut log, 20).is_empty());
    assert!(log.services.is_empty());
}

#[test]
fn what_had_no_turn_is_not_told_yet_and_each_first_comes_before_any_second() {
    let mut log = ProblemLog::default();
    log.update(&name("a.noisy"), &found(&["1", "2", "3"], 7));
    log.update(&name("b.noisy"), &found(&["1", "2"], 0));
    log.update(&name("cart.shop"), &found(&["mode"], 0));
    assert_eq!(log.waiting(), 13);
    assert_eq!(next_lines(&mut log, 3), ["a.noisy: 1", "cart.shop: mode", "b.noisy: 1"]);
    // One line of each is logged.
    log.update(&name("c.noisy"), &found(&["1"], 0));
    assert_eq!(next_lines(&mut log, 3), ["c.noisy: 1", "a.noisy: 2", "b.noisy: 2"]);
    assert_eq!(next_lines(&mut log, 3), ["a.noisy: 3", "a.noisy: 7 more settings are wrong"]);
    assert_eq!(log.waiting(), 0);
    log.update(&name("a.noisy"), &found(&["1", "2", "3"], 8));
    assert!(next_lines(&mut log, 3).is_empty(), "that there are more is told once");
}

#[test]
fn who_turns_wrong_and_right_without_end_keeps_nobody_from_its_turn() {
    let mut log = ProblemLog::default();
    log.update(&name("z.shop"), &found(&["mode"], 0));
    log.update(&name("a.shop"), &found(&["mode"], 0));
    let mut lines = Vec::new();
    for round in 0..4 {
        log.update(&name("a.shop"), &found(&[&format!("{round}")], 0));
        lines.extend(next_lines(&mut log, 1));
        log.update(&name("a.shop"), &found(&[], 0));
    }
    assert!(lines.contains(&"z.shop: mode".to_owned()), "{lines:?}");
}
