//! Kernel variants: which of those that there are computes a node.

use super::storage::Crowded;
use super::{Choice, Layout, Prices};
use crate::error::{Error, Result};
use crate::graph::{Graph, NodeId};
use crate::kernels::library::Library;
use crate::kernels::offer::{ROWS_LIMIT, SPARSE, UNROLLED, Want};
use crate::policy::{Policy, Price};
use crate::select::{PORTABLE, Variant, variants};
use std::collections::BTreeMap;

/// What a node may spend at first.
pub(crate) fn want<'a>(library: &'a Library<'a>, policy: Policy<'a>) -> Want<'a> {
    Want { library, policy, rows_limit: ROWS_LIMIT }
}

/// The choice for a node that is not a mere view. `layouts` is by value index and final.
/// Where engines offer something it is taken: native kernels win on every shape measured.
pub(crate) fn choose(
    graph: &Graph,
    node: NodeId,
    layouts: &[Option<Layout>],
    library: &Library<'_>,
    policy: Policy<'_>,
    code: &mut Code,
) -> Result<Choice> {
    let want = want(library, policy);
    let may = |v: &Variant| (code.unrolled || shared(v)).then_some(0);
    let (mut all, prices) = allowed(graph, node, layouts, &want, &may)?;
    let free = policy.kernel(&graph[node].name).is_none();
    if free && !code.unrolled && all.iter().any(|(variant, _)| shared(variant)) {
        all.retain(|(variant, _)| shared(variant));
    }
    // The first of equals, so that engines list what they like best first.
    let best = all.into_iter().min_by_key(|(_, price)| policy.rank(price));
    let (variant, price) = best.ok_or_else(|| Error::internal(graph[node].site(), "no variant is left"))?;
    code.texts.extend(variant.texts());
    Ok(Choice::of(variant).priced(Prices { chosen: Some(price), ..prices }))
}

fn shared(variant: &Variant) -> bool {
    variant.name != UNROLLED
}

/// Native code of the choices made so far.
pub(crate) struct Code {
    /// Whether variants are taken that have code of their own beside a shared function's.
    pub(crate) unrolled: bool,
    texts: BTreeMap<String, usize>,
}

impl Code {
    pub(crate) fn new(unrolled: bool) -> Code {
        Code { unrolled, texts: BTreeMap::new() }
    }
    /// Whether there is more than a model's native kernels should take.
    pub(crate) fn large(&self, policy: Policy<'_>) -> bool {
        self.texts.values().sum::<usize>() > policy.most_code()
    }
}

/// Another variant for a node that runs when memory is shortest: the best of those that need
/// at most `room` bytes of workspace, else the one that needs least. `None` if none needs less
/// than the choice at hand. Where the result stands in its operand's place, it counts as
/// workspace of a variant that cannot leave it there.
pub(crate) fn smaller(
    graph: &Graph,
    node: NodeId,
    layouts: &[Option<Layout>],
    (library, policy): (&Library<'_>, Policy<'_>),
    choice: &Choice,
    Crowded { room, over, .. }: Crowded,
    unrolled: bool,
) -> Result<Option<Choice>> {
    let mut found: Option<((bool, u64, u64), Choice)> = None;
    // Rows are cut into ever more tiles, which costs a little speed at their seams.
    for rows_limit in (0..4).map(|halved| ROWS_LIMIT >> halved) {
        if found.as_ref().is_some_and(|best| !best.0.0) {
            break;
        }
        let want = Want { library, policy, rows_limit };
        let result = |variant: &Variant| if variant.in_place() { 0 } else { over };
        let needed = |variant: &Variant| variant.workspace.next_multiple_of(8) + result(variant);
        let may = |variant: &Variant| unrolled || shared(variant);
        let over = |v: &Variant| may(v).then(|| needed(v).saturating_sub(room));
        let (all, prices) = allowed(graph, node, layouts, &want, &over)?;
        for (variant, price) in all {
            if variant.workspace + result(&variant) >= choice.workspace || !may(&variant) {
                continue;
            }
            let needed = needed(&variant);
            let fits = needed <= room;
            let (first, second) = if fits { policy.rank(&price) } else { (needed as u64, 0) };
            if found.as_ref().is_none_or(|best| (!fits, first, second) < best.0) {
                let choice = Choice::of(variant).priced(Prices { chosen: Some(price), ..prices });
                found = Some(((!fits, first, second), choice));
            }
        }
    }
    Ok(found.map(|(_, choice)| choice))
}

/// The variants that may be taken, with their prices: those whose flash is worth it, or the one that
/// the user wants. And the prices of the best dense and sparse ones of those that may be taken at all, of which `over`
/// says by how many bytes there is no room for them: the least comes first.
///
/// Errors: the node cannot be compiled, or has no variant of the name that is wanted.
fn allowed(
    graph: &Graph,
    node: NodeId,
    layouts: &[Option<Layout>],
    want: &Want<'_>,
    over: &dyn Fn(&Variant) -> Option<usize>,
) -> Result<(Vec<(Variant, Price)>, Prices)> {
    let name = &graph[node].name;
    let wish = want.policy.kernel(name);
    let mut all: Vec<(Variant, Price)> = variants(graph, node, layouts, want, wish == Some(PORTABLE))?
        .into_iter()
        .map(|variant| {
            let price = variant.price(want.target());
            (variant, price)
        })
        .collect();
    let Some(wish) = wish else {
        let best = |sparse: bool| {
            let of_kind = all.iter().filter(|(v, _)| v.name.starts_with(SPARSE) == sparse);
            let of_kind: Vec<(usize, Price)> =
                of_kind.filter_map(|(v, price)| Some((over(v)?, *price))).collect();
            let least = of_kind.iter().map(|(over, _)| *over).min();
            let mut prices: Vec<((), Price)> = of_kind
                .iter()
                .filter(|(over, _)| Some(*over) == least)
                .map(|(_, price)| ((), *price))
                .collect();
            want.policy.affordable(&mut prices);
            prices.into_iter().map(|(_, price)| price).min_by_key(|price| want.policy.rank(price))
        };
        let prices = Prices { chosen: None, dense: best(false), sparse: best(true) };
        want.policy.affordable(&mut all);
        return Ok((all, prices));
    };
    let mut names: Vec<String> = all.iter().map(|(variant, _)| format!("`{}`", variant.name)).collect();
    all.retain(|(variant, _)| variant.name == wish);
    if all.is_empty() {
        names.push(format!("`{PORTABLE}`"));
        names.dedup();
        let why = format!("{} has no kernel `{wish}`; it has {}", graph[node].site(), names.join(", "));
        return Err(Error::entry("kernel", &graph[node].name, why));
    }
    Ok((all, Prices::default()))
}
