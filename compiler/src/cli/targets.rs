//! `secateur targets`: chips and cores, as their files have them.

use super::{output, print_json, table};
use crate::error::{Error, Fault, Result, Site};
use crate::report::SCHEMA;
use secateur_targets::{Boot, Target};
use serde_json::json;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Show one chip or core.
    name: Option<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

fn refused(error: &secateur_targets::TargetError) -> Error {
    Error::new(Fault::Target, Site::Option("target".into()), error.to_string())
}

fn kib(bytes: u64) -> String {
    if bytes == 0 { "-".into() } else { format!("{} KiB", table::count(bytes / 1024)) }
}

fn mhz(target: &Target) -> String {
    target.clock.as_ref().map_or("-".into(), |c| format!("{} MHz", c.hz / 1_000_000))
}

pub(crate) fn main(args: &Args) -> Result<()> {
    let all = match &args.name {
        Some(name) => vec![secateur_targets::find(name).map_err(|e| refused(&e))?],
        None => secateur_targets::all().map_err(|e| refused(&e))?,
    };
    if args.json {
        return print_json(&json!({ "schema": SCHEMA, "targets": all }));
    }
    if args.name.is_some() {
        return output::print(&one(&all[0]));
    }
    let rows = all
        .iter()
        .map(|t| {
            vec![
                t.name.clone(),
                t.core.name.clone(),
                t.core.features.join(" "),
                mhz(t),
                kib(t.flash()),
                kib(t.ram()),
            ]
        })
        .collect();
    output::print(&table::table(&["target", "core", "instructions", "clock", "flash", "RAM"], rows, 3))
}

fn one(target: &Target) -> String {
    let mut out = format!("{}\n", target.name);
    let mut line = |name: &str, value: String| {
        if !value.is_empty() {
            out.push_str(&format!("  {name:<13}{value}\n"));
        }
    };
    line("about", target.description.clone());
    line("core", format!("{} ({})", target.core.name, target.core.architecture));
    line("instructions", target.core.features.join(" "));
    line("zeros", target.core.patterns.join(" "));
    line("clock", mhz(target));
    for (kind, regions) in [("flash", &target.memory.flash), ("RAM", &target.memory.ram)] {
        for region in regions {
            let wait = region.wait_states.map_or(String::new(), |w| format!(", {w} wait states"));
            line(kind, format!("{} {} at {:#010x}{wait}", region.name, kib(region.size.0), region.start.0));
        }
    }
    if let Some(power) = &target.power {
        let figure = power.active_ua_per_mhz.map_or("not stated".into(), |ua| format!("{ua} µA/MHz"));
        line("active", format!("{figure} ({})", power.conditions));
    }
    match &target.boot {
        Some(Boot { image: Some(_), ram, .. }) => {
            line("firmware", format!("`secateur new`, data in {}", ram.join(" or ")))
        }
        Some(boot) => line("firmware", format!("not by `secateur new`: {}", boot.refused)),
        None => {}
    }
    if let Some(tools) = &target.core.toolchain {
        line("C", tools.gcc.join(" "));
        line("Rust", tools.rust_triple.clone());
    }
    if let Some(emulator) = &target.core.emulator {
        let what = match emulator.is_user_mode() {
            true => emulator.arguments.join(" "),
            false => format!("-M {}", emulator.machine),
        };
        line("emulator", format!("{} {what}", emulator.program));
    }
    for source in &target.sources {
        line("source", source.clone());
    }
    out
}
