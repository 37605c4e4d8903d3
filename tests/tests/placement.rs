//! Placement of the models of the zoo: the arena is no larger than it must be, and nothing
//! that is still needed is overwritten.

use secateur_compiler::graph::{Graph, ValueId};
use secateur_compiler::kernel::{Access, ParamKind};
use secateur_compiler::program::{Arg, Place, Program};
use secateur_compiler::schedule::{Family, Schedule};
use secateur_compiler::targets::Target;
use secateur_compiler::{lower, passes, schedule};
use secateur_tests::{zoo, zoo_models};
use std::collections::BTreeMap;
use std::path::Path;

fn target(name: &str) -> Target {
    secateur_targets::find(name).expect("a target of the list")
}

/// The graph after all passes, its schedule and its program. Models that the importer refuses
/// are other tests' business.
fn compile(path: &Path, target: &Target) -> Option<(Graph, Schedule, Program)> {
    let bytes = std::fs::read(path).expect("a model of the zoo");
    let mut graph = secateur_compiler::onnx::import(&bytes, &BTreeMap::new()).ok()?;
    passes::run(&mut graph, &mut |_, _| {}).expect("passes");
    passes::run_quantized(&mut graph, &mut |_, _| {}).expect("quantized passes");
    let schedule = schedule::schedule(&graph, target, secateur_compiler::options::Optimize::Balanced)
        .expect("a schedule");
    let program =
        lower::lower(&graph, &schedule, target).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    Some((graph, schedule, program))
}

/// The value whose bytes a value is: itself, or what it is a view of.
fn origin(graph: &Graph, schedule: &Schedule, mut value: ValueId) -> ValueId {
    while let Some(id) = graph.producer(value) {
        let alias = schedule.choices[id.index()].as_ref().is_some_and(|c| c.family == Family::Alias);
        match graph[id].inputs[0] {
            Some(x) if alias => value = x,
            _ => break,
        }
    }
    value
}

/// Replays the steps over a map of the bytes of arena and output ports: whatever is read must
/// still be what was written there for that value.
fn nothing_is_overwritten(name: &str, graph: &Graph, schedule: &Schedule, program: &Program) {
    let by_name: BTreeMap<&str, ValueId> = graph.values().map(|(id, v)| (v.name.as_str(), id)).collect();
    // The arena, then the output ports.
    let mut memory: Vec<Vec<Option<ValueId>>> = vec![vec![None; program.arena]];
    for port in &program.outputs {
        memory.push(vec![None; port.shape.iter().product::<usize>() * port.elem.size()]);
    }
    for step in &program.entries[0].steps {
        for write in [false, true] {
            for (arg, param) in step.args.iter().zip(&step.kernel.params) {
                let ParamKind::Buffer { access, .. } = param.kind else { continue };
                let Arg::Buffer { buffer, .. } = *arg else { continue };
                let b = &program.buffers[buffer.0 as usize];
                let (region, at) = match b.place {
                    Place::Arena(at) => (0, at),
                    Place::Output(i) => (1 + i, 0),
                    _ => continue,
                };
                let Some(holds) = &b.holds else { continue };
                let bytes = &mut memory[region][at..at + b.len * b.elem.size()];
                let tag = Some(origin(graph, schedule, by_name[holds.value.as_str()]));
                if write && access != Access::Read {
                    bytes.fill(tag);
                } else if !write && access == Access::Read {
                    let intact = bytes.iter().all(|t| *t == tag);
                    assert!(
                        intact,
                        "{name}: `{}` is overwritten before `{}` reads it",
                        holds.value, step.kernel.name
                    );
                }
            }
        }
    }
}

#[test]
fn zoo_models_are_placed_soundly() {
    let target = target("cortex-m4");
    for (name, path) in zoo_models() {
        let Some((graph, schedule, program)) = compile(&path, &target) else { continue };
        assert!(program.arena_lower_bound <= program.arena, "{name}");
        println!("{name}: arena {} lower bound {}", program.arena, program.arena_lower_bound);
        nothing_is_overwritten(&name, &graph, &schedule, &program);
    }
}

/// Arena and ports together, against TFLM's arena for the same network (its ports are inside):
/// TFLM with CMSIS-NN on Cortex-M4, KiB.
#[test]
fn mlperf_arenas_are_no_larger_than_tflm() {
    let Some(root) = zoo() else { return };
    let limits = [
        ("mlperf_kws_dscnn", 22.3),
        ("mlperf_ic_resnet8", 53.7),
        ("mlperf_vww_mobilenetv1", 98.3),
        ("mlperf_ad_autoencoder", 2.5),
        ("mlperf_sww_streaming", 14.9),
    ];
    for (model, limit) in limits {
        let path = root.join("third_party").join(model).join("model_int8_qdq.onnx");
        let (_, _, program) = compile(&path, &target("cortex-m4")).expect("a model of the zoo compiles");
        let ports = program.inputs.iter().chain(&program.outputs);
        let io: usize = ports.map(|p| p.shape.iter().product::<usize>() * p.elem.size()).sum();
        let kib = (program.arena + io) as f64 / 1024.0;
        println!(
            "{model}: arena {} + ports {io} = {kib:.1} KiB, lower bound {}",
            program.arena, program.arena_lower_bound
        );
        assert!(kib <= limit, "{model}: {kib:.1} KiB, limit {limit}");
    }
}
