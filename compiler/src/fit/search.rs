//! Which forms of the layers go together: dynamic programming over layers.
//!
//! In: a [`Survey`] and what may be taken. Out: plans, each once, in a fixed order. Cycles and flash are mixed in
//! several proportions to one resource; for each proportion a table holds the least damage for every amount of it.
//! Law: a plan is the best of its proportion and amount as far as damages add up, which compiling it shows.

use super::{Form, Offer, Plan, Survey};

/// What a model may take at most.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Limits {
    pub cycles: Option<u64>,
    /// Bytes of weights and code.
    pub flash: Option<usize>,
}

/// Amounts of a resource that are told apart.
const AMOUNTS: usize = 512;

/// Parts of flash in the mixed resource, of four.
const MIXES: [u32; 5] = [0, 1, 2, 3, 4];

/// By how much plans stay below limits, as code and masks cost what only a build shows.
const MARGINS: [f64; 3] = [1.0, 0.96, 0.9];

/// Steps of damage, each so many times the last, at which plans are taken where nothing limits them.
const STEPS: f64 = 2.5;

/// What a plan takes and costs, as far as sums tell.
#[derive(Debug, Clone)]
struct Sum {
    forms: Vec<usize>,
    damage: f64,
    cycles: f64,
    flash: f64,
}

/// Plans to try, the most promising first, at most `count`: of each proportion of cycles and flash those that keep
/// the limits at the least damage, and besides them some along the way from no damage to much.
pub fn plans(survey: &Survey, limits: &Limits, count: usize) -> Vec<Plan> {
    let (mut first, mut others): (Vec<Sum>, Vec<Sum>) = (Vec::new(), Vec::new());
    for mix in MIXES {
        let front = front(survey, f64::from(mix) / 4.0);
        if limits.cycles.is_some() || limits.flash.is_some() {
            let fits = |margin: f64| {
                let within = |most: Option<f64>, takes: f64| most.is_none_or(|most| takes <= most * margin);
                let fit = front.iter().filter(|sum| {
                    within(limits.cycles.map(|c| c as f64), sum.cycles)
                        && within(limits.flash.map(|f| f as f64), sum.flash)
                });
                fit.min_by(|a, b| a.damage.total_cmp(&b.damage)).cloned()
            };
            first.extend(MARGINS.iter().filter_map(|&margin| fits(margin)));
        }
        // From little damage to much.
        let mut next = 0.0;
        for sum in &front {
            if sum.damage > next {
                next = sum.damage * STEPS;
                others.push(sum.clone());
            }
        }
        others.extend(front.last().cloned());
    }
    first.sort_by(|a, b| a.damage.total_cmp(&b.damage));
    // Of the others every so many, so that all damages and proportions have some.
    others.sort_by(|a, b| a.damage.total_cmp(&b.damage));
    let mut plans: Vec<Plan> = Vec::new();
    let add = |sum: &Sum, plans: &mut Vec<Plan>| {
        let plan = plan(survey, sum);
        if !plan.layers.is_empty() && !plans.contains(&plan) {
            plans.push(plan);
        }
    };
    first.iter().take(count).for_each(|sum| add(sum, &mut plans));
    let left = count.saturating_sub(plans.len());
    let mut distinct: Vec<Plan> = Vec::new();
    others.iter().for_each(|sum| add(sum, &mut distinct));
    distinct.retain(|plan| !plans.contains(plan));
    let taken = left.min(distinct.len());
    plans.extend((0..taken).map(|i| distinct[i * distinct.len() / taken.max(1)].clone()));
    plans
}

fn plan(survey: &Survey, sum: &Sum) -> Plan {
    let form = |(layer, &at): (&super::Offers, &usize)| (layer.layer.clone(), layer.forms[at].form);
    let layers = survey.layers.iter().zip(&sum.forms).map(form).filter(|(_, form)| *form != Form::Dense);
    let predicted = Some((sum.cycles.max(0.0) as u64, sum.flash.max(0.0) as usize));
    Plan { layers: layers.collect(), whole: None, predicted }
}

/// The sums that no other beats in damage and in the mixed resource, the one with the least damage first.
fn front(survey: &Survey, flash: f64) -> Vec<Sum> {
    let share = |offer: &Offer| {
        (1.0 - flash) * offer.cycles as f64 / survey.cycles.max(1) as f64
            + flash * offer.bytes as f64 / survey.flash.max(1) as f64
    };
    // Amounts are counted from the least that each layer can take, so that rounding never hides a saving.
    let least = |forms: &[Offer]| forms.iter().map(share).fold(f64::INFINITY, f64::min);
    let most = |forms: &[Offer]| forms.iter().map(share).fold(0.0, f64::max);
    let span: f64 = survey.layers.iter().map(|l| most(&l.forms) - least(&l.forms)).sum();
    let unit = (span / AMOUNTS as f64).max(f64::MIN_POSITIVE);
    // The least damage by amount, and the forms that led there.
    let mut table: Vec<Option<(f64, Vec<usize>)>> = vec![None; AMOUNTS + 1];
    table[0] = Some((0.0, Vec::new()));
    for layer in &survey.layers {
        let floor = least(&layer.forms);
        let mut next: Vec<Option<(f64, Vec<usize>)>> = vec![None; AMOUNTS + 1];
        for (amount, entry) in table.iter().enumerate() {
            let Some((damage, forms)) = entry else { continue };
            for (number, offer) in layer.forms.iter().enumerate() {
                let more = libm::round((share(offer) - floor) / unit) as usize;
                let at = (amount + more).min(AMOUNTS);
                let sum = damage + offer.damage.max(0.0);
                if next[at].as_ref().is_none_or(|(best, _)| sum < *best) {
                    let mut forms = forms.clone();
                    forms.push(number);
                    next[at] = Some((sum, forms));
                }
            }
        }
        table = next;
    }
    let mut front: Vec<Sum> = Vec::new();
    for (damage, forms) in table.into_iter().flatten() {
        // Amounts rise: a sum counts that has less damage than all before it.
        if front.last().is_none_or(|last| damage < last.damage) {
            front.push(sum(survey, forms, damage));
        }
    }
    front.reverse();
    front
}

fn sum(survey: &Survey, forms: Vec<usize>, damage: f64) -> Sum {
    let (mut cycles, mut flash) = (survey.cycles as f64, survey.flash as f64);
    for (layer, &at) in survey.layers.iter().zip(&forms) {
        let (from, to) = (&layer.forms[0], &layer.forms[at]);
        cycles += to.cycles as f64 - from.cycles as f64;
        flash += to.bytes as f64 - from.bytes as f64;
    }
    Sum { forms, damage, cycles, flash }
}

/// The damage of a plan as the sum of its layers'; `None`: it is one for the whole.
pub fn damage(survey: &Survey, plan: &Plan) -> Option<f64> {
    let of = |layer: &super::Offers| {
        let form = plan.layers.iter().find(|(name, _)| *name == layer.layer).map_or(Form::Dense, |(_, f)| *f);
        layer.forms.iter().find(|offer| offer.form == form).map(|offer| offer.damage.max(0.0))
    };
    if plan.whole.is_some() { None } else { survey.layers.iter().map(of).sum() }
}

/// Plans whose damage lies between two others', of all proportions of cycles and flash, at most `count`.
pub fn between(survey: &Survey, (low, high): (f64, f64), count: usize) -> Vec<Plan> {
    let inside = |sum: &Sum| sum.damage > low && sum.damage < high;
    let all = MIXES.iter().flat_map(|&mix| front(survey, f64::from(mix) / 4.0)).filter(inside);
    let mut sums: Vec<Sum> = all.collect();
    sums.sort_by(|a, b| a.damage.total_cmp(&b.damage));
    let mut plans: Vec<Plan> = Vec::new();
    for sum in &sums {
        let plan = plan(survey, sum);
        if !plan.layers.is_empty() && !plans.contains(&plan) {
            plans.push(plan);
        }
    }
    let taken = count.min(plans.len());
    (0..taken).map(|i| plans[i * plans.len() / taken.max(1)].clone()).collect()
}
