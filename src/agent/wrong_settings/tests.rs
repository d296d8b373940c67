use super::*;
use crate::policy::problems::Problem;

fn found(problems: &[&str], more: usize) -> Problems {
    let problem = |it: &&str| Problem { text: format!("line 7: {it}"), anywhere: (*it).to_owned() };
    Problems { told: problems.iter().map(problem).collect(), more }
}

fn name(service: &str) -> ServiceName {
    service.parse().unwrap()
}

/// The lines of a turn, as "service: problem".
fn turn(told: &mut Told, most: usize) -> Vec<String> {
    let line = |(name, news): (ServiceName, News)| match news {
        News::Wrong(text) => format!("{name}: {}", text.replace("line 7: ", "")),
        News::Mended => format!("{name} is mended"),
    };
    told.turn(most).into_iter().map(line).collect()
}

#[test]
fn a_wrong_setting_is_told_once_and_again_after_it_was_mended() {
    let mut told = Told::default();
    let mut of = |problems: &[&str]| {
        told.take_in(&name("cart.shop"), &found(problems, 0));
        turn(&mut told, 20)
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
    let mut told = Told::default();
    for service in ["cart.shop", "pay.shop"] {
        told.take_in(&name(service), &found(&["mode"], 0));
    }
    assert_eq!(turn(&mut told, 1), ["cart.shop: mode"]);
    told.retain(|known| *known == name("pay.shop"));
    told.take_in(&name("cart.shop"), &found(&[], 0));
    told.take_in(&name("pay.shop"), &found(&[], 0));
    assert!(turn(&mut told, 20).is_empty());
    assert!(told.services.is_empty());
}

#[test]
fn what_had_no_turn_is_not_told_yet_and_each_first_comes_before_any_second() {
    let mut told = Told::default();
    told.take_in(&name("a.noisy"), &found(&["1", "2", "3"], 7));
    told.take_in(&name("b.noisy"), &found(&["1", "2"], 0));
    told.take_in(&name("cart.shop"), &found(&["mode"], 0));
    assert_eq!(told.waiting(), 13);
    assert_eq!(turn(&mut told, 3), ["a.noisy: 1", "cart.shop: mode", "b.noisy: 1"]);
    // Each has been told one.
    told.take_in(&name("c.noisy"), &found(&["1"], 0));
    assert_eq!(turn(&mut told, 3), ["c.noisy: 1", "a.noisy: 2", "b.noisy: 2"]);
    assert_eq!(turn(&mut told, 3), ["a.noisy: 3", "a.noisy: 7 more settings are wrong"]);
    assert_eq!(told.waiting(), 0);
    told.take_in(&name("a.noisy"), &found(&["1", "2", "3"], 8));
    assert!(turn(&mut told, 3).is_empty(), "that there are more is told once");
}

#[test]
fn who_turns_wrong_and_right_without_end_keeps_nobody_from_its_turn() {
    let mut told = Told::default();
    told.take_in(&name("z.shop"), &found(&["mode"], 0));
    told.take_in(&name("a.shop"), &found(&["mode"], 0));
    let mut lines = Vec::new();
    for round in 0..4 {
        told.take_in(&name("a.shop"), &found(&[&format!("{round}")], 0));
        lines.extend(turn(&mut told, 1));
        told.take_in(&name("a.shop"), &found(&[], 0));
    }
    assert!(lines.contains(&"z.shop: mode".to_owned()), "{lines:?}");
}
