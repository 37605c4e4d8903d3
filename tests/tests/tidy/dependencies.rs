//! What deny.toml says of dependencies, held without cargo-deny: licences, duplicates, sources and
//! the advisory that is guarded. (cargo-deny, where it is installed, also asks the database.)
//!
//! In: deny.toml, `cargo metadata`, Cargo.lock. Out: what breaks it.

use serde_json::Value as Json;
use toml::Value;

fn words(value: &Value, key: &str) -> Vec<String> {
    let list = value.get(key).and_then(Value::as_array).cloned().unwrap_or_default();
    list.iter().filter_map(|v| v.as_str().map(str::to_owned)).collect()
}

/// Whether an SPDX expression of `OR`, `AND`, `WITH` and brackets around alternatives is met.
fn licensed(expression: &str, allowed: &dyn Fn(&str) -> bool) -> bool {
    let expression = expression.replace('/', " OR ");
    // Brackets hold alternatives, and `AND` joins what stands beside them.
    let depth_zero_and = split_outside(&expression, " AND ");
    if depth_zero_and.len() > 1 && split_outside(&expression, " OR ").len() == 1 {
        return depth_zero_and.iter().all(|part| licensed(part, allowed));
    }
    split_outside(&expression, " OR ").iter().any(|part| {
        let part = part.trim();
        match part.strip_prefix('(').and_then(|p| p.strip_suffix(')')) {
            Some(inner) => licensed(inner, allowed),
            None if part.contains(" AND ") => licensed(part, allowed),
            None => allowed(part),
        }
    })
}

fn split_outside(text: &str, at: &str) -> Vec<String> {
    let (mut parts, mut depth, mut from) = (Vec::new(), 0, 0);
    for (i, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ if depth == 0 && i >= from && text[i..].starts_with(at) => {
                parts.push(text[from..i].to_owned());
                from = i + at.len();
            }
            _ => {}
        }
    }
    parts.push(text[from..].to_owned());
    parts
}

/// What of a resolved set of packages deny.toml does not allow.
pub fn broken(deny: &str, metadata: &Json) -> Vec<String> {
    let deny: Value = toml::from_str(deny).expect("deny.toml is TOML");
    let allow = words(&deny["licenses"], "allow");
    let exceptions = deny["licenses"]["exceptions"].as_array().cloned().unwrap_or_default();
    let skip = deny["bans"]["skip"].as_array().cloned().unwrap_or_default();
    let named = |entry: &Value| entry["crate"].as_str().unwrap_or_default().to_owned();
    let mut wrong = Vec::new();
    let mut seen: Vec<(String, String)> = Vec::new();
    for package in metadata["packages"].as_array().expect("packages") {
        let text = |key: &str| package[key].as_str().unwrap_or_default().to_owned();
        let (name, version) = (text("name"), text("version"));
        let more: Vec<String> =
            exceptions.iter().filter(|e| named(e) == name).flat_map(|e| words(e, "allow")).collect();
        if !licensed(&text("license"), &|l| allow.iter().chain(&more).any(|a| a == l)) {
            wrong.push(format!("{name} {version}: licence `{}`", text("license")));
        }
        let source = text("source");
        if !source.is_empty() && !source.starts_with("registry+") {
            wrong.push(format!("{name} {version}: from {source}"));
        }
        let skipped = skip.iter().any(|s| {
            let entry = named(s);
            let (skipped, which) = entry.split_once('@').unwrap_or((&entry, ""));
            skipped == name
                && (which.is_empty() || version == which || version.starts_with(&format!("{which}.")))
        });
        if !skipped {
            seen.push((name, version));
        }
    }
    seen.sort();
    for pair in seen.windows(2) {
        if pair[0].0 == pair[1].0 {
            wrong.push(format!("{} in versions {} and {}", pair[0].0, pair[0].1, pair[1].1));
        }
    }
    wrong
}

/// The advisories that deny.toml lets pass.
pub fn guarded(deny: &str) -> Vec<(String, String)> {
    let deny: Value = toml::from_str(deny).expect("deny.toml is TOML");
    let ignored = deny["advisories"]["ignore"].as_array().cloned().unwrap_or_default();
    let text =
        |entry: &Value, key: &str| entry.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    ignored.iter().map(|e| (text(e, "id"), text(e, "reason"))).collect()
}
