//! The stable text form of a schedule, for `--dump-after` and snapshot tests.

use super::{Placed, Region, Schedule};
use crate::graph::Graph;
use std::fmt::Write;

/// Prints a schedule: nodes in order with kernel variant and layout of results, then placements.
pub fn print(graph: &Graph, schedule: &Schedule) -> String {
    let mut out = String::new();
    let _ = writeln!(out, "schedule {}", graph.name);
    for (step, group) in schedule.groups.iter().enumerate() {
        for &id in &group.nodes {
            let node = &graph[id];
            let choice = schedule.choices[id.index()].as_ref();
            let variant = choice.map_or("none", |c| &c.variant);
            let _ = write!(out, "  {step:3} {} {variant}", node.op.name());
            for v in &node.outputs {
                let order = schedule.layouts[v.index()].as_ref().map(|l| &l.order);
                let _ = write!(out, " %{} {:?}", graph[*v].name, order.map_or(&[][..], |o| o));
            }
            let workspace = choice.map_or(0, |c| c.workspace);
            if workspace > 0 {
                let _ = write!(out, " workspace {workspace}");
            }
            let _ = writeln!(out, "  # {}", node.name);
        }
    }
    for p in &schedule.placements {
        let what = match &p.what {
            Placed::Workspace(id) => format!("workspace of {}", graph[*id].name),
            Placed::Values(values) => {
                values.iter().map(|v| format!("%{}", graph[*v].name)).collect::<Vec<_>>().join(" ")
            }
        };
        let place = match p.region {
            Region::Arena => format!("arena {:6}", p.offset),
            Region::State => format!("state {:6}", p.offset),
        };
        let _ = writeln!(out, "  {place} +{:6} live {:3}..={:3} {what}", p.bytes, p.live.0, p.live.1);
    }
    let _ = writeln!(out, "  arena {} lower bound {}", schedule.arena, schedule.arena_lower_bound);
    out
}
