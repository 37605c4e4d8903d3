//! The search against every combination, and plans as options and as text.

use super::*;

fn offer(form: Form, damage: f64, cycles: u64, bytes: usize) -> Offer {
    Offer { form, damage, cycles, bytes }
}

fn zeros(share: f64) -> Form {
    Form::Zeros { pattern: Pattern::Block { rows: 1, columns: 4 }, share }
}

/// Two layers: one that is dear to prune and heavy in flash, one that is cheap to prune and heavy in cycles.
fn two() -> Survey {
    let layers = vec![
        Offers {
            layer: "fc".into(),
            forms: vec![
                offer(Form::Dense, 0.0, 100, 1000),
                offer(zeros(0.5), 0.4, 80, 550),
                offer(Form::FourBits, 0.1, 120, 500),
            ],
        },
        Offers {
            layer: "conv".into(),
            forms: vec![
                offer(Form::Dense, 0.0, 900, 100),
                offer(zeros(0.5), 0.05, 500, 60),
                offer(zeros(0.75), 0.3, 300, 40),
            ],
        },
    ];
    Survey { layers, cycles: 1100, flash: 1500 }
}

/// All sums, by trying every combination.
fn all(survey: &Survey) -> Vec<(f64, u64, usize)> {
    let mut sums = vec![(0.0, survey.cycles, survey.flash)];
    for layer in &survey.layers {
        let base = layer.forms[0];
        let with = |(damage, cycles, flash): (f64, u64, usize)| {
            layer.forms.iter().map(move |o| {
                (damage + o.damage, cycles + o.cycles - base.cycles, flash + o.bytes - base.bytes)
            })
        };
        sums = sums.into_iter().flat_map(with).collect();
    }
    sums
}

fn damage(survey: &Survey, plan: &Plan) -> f64 {
    let of = |layer: &Offers| {
        let form = plan.layers.iter().find(|(name, _)| *name == layer.layer).map_or(Form::Dense, |(_, f)| *f);
        layer.forms.iter().find(|o| o.form == form).expect("an offer").damage
    };
    survey.layers.iter().map(of).sum()
}

#[test]
fn the_first_plan_keeps_the_limits_at_the_least_damage_of_all_combinations() {
    let survey = two();
    for limits in [
        Limits { cycles: Some(700), flash: None },
        Limits { cycles: None, flash: Some(1000) },
        Limits { cycles: Some(730), flash: Some(970) },
        Limits { cycles: Some(480), flash: None },
        Limits { cycles: Some(520), flash: Some(950) },
    ] {
        let fits = |cycles: u64, flash: usize| {
            limits.cycles.is_none_or(|most| cycles <= most) && limits.flash.is_none_or(|most| flash <= most)
        };
        let best = all(&survey).into_iter().filter(|(_, cycles, flash)| fits(*cycles, *flash));
        let best = best.map(|(damage, ..)| damage).fold(f64::INFINITY, f64::min);
        let plans = plans(&survey, &limits, 12);
        let (cycles, flash) = plans[0].predicted.expect("of layers");
        assert!(fits(cycles, flash), "{limits:?}: {cycles} cycles, {flash} B");
        assert!((damage(&survey, &plans[0]) - best).abs() < 1e-12, "{limits:?}: {:?}", plans[0]);
    }
}

#[test]
fn without_limits_plans_lead_from_little_damage_to_much_and_none_comes_twice() {
    let survey = two();
    let plans = plans(&survey, &Limits::default(), 12);
    for (i, plan) in plans.iter().enumerate() {
        assert!(!plan.layers.is_empty() && !plans[..i].contains(plan), "{plan:?}");
    }
    let damages: Vec<f64> = plans.iter().map(|plan| damage(&survey, plan)).collect();
    assert!(damages.is_sorted() && damages[0] <= 0.1 && *damages.last().unwrap() >= 0.35, "{damages:?}");
    // What is left when few are wanted spreads over all.
    assert_eq!(super::plans(&survey, &Limits::default(), 3).len(), 3.min(plans.len()));
}

#[test]
fn limits_that_nothing_keeps_leave_the_plans_without_limits() {
    let survey = two();
    let limits = Limits { cycles: Some(1), flash: None };
    assert_eq!(plans(&survey, &limits, 12), plans(&survey, &Limits::default(), 12));
}

#[test]
fn a_plan_becomes_options_and_says_what_it_is() {
    let plan =
        Plan { layers: vec![("fc".into(), Form::FourBits), ("conv".into(), zeros(0.75))], ..Plan::dense() };
    let options = plan.options(&Options::default());
    assert_eq!(options.int4, [Glob("fc".into())]);
    assert_eq!(options.kernels[0].variant, DENSE4);
    assert_eq!(options.sparsities[0].value, Share(0.75));
    assert_eq!(plan.summary(), "4 bits, 1x4 75 %");
    assert_eq!(Plan::dense().options(&Options::default()), Options::default());
    assert_eq!(Plan::dense().summary(), "dense int8");
    let whole = Plan::whole(zeros(0.5));
    assert_eq!(whole.options(&Options::default()).prune.and_then(|p| p.sparsity), Some(Share(0.5)));
    let text = serde_json::to_string(&whole).expect("it prints");
    assert_eq!(serde_json::from_str::<Plan>(&text).expect("it reads"), whole);
}
