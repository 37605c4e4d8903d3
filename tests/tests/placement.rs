//! Placement of the models of the zoo: the arena is no larger than it must be, and nothing
//! that is still needed is overwritten.

use secateur_compiler::graph::{Graph, ValueId};
use secateur_compiler::kernel::{Access, ParamKind};
use secateur_compiler::program::{Arg, Place, Program};
use secateur_compiler::schedule::Schedule;
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
    let program = lower::lower(&graph, &schedule).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    Some((graph, schedule, program))
}

/// The value whose bytes a value is: itself, or what it is a view of.
fn origin(graph: &Graph, schedule: &Schedule, mut value: ValueId) -> ValueId {
    while let Some(id) = graph.producer(value) {
        let alias = schedule.choices[id.index()].as_ref().is_some_and(|c| c.view);
        match graph[id].inputs[0] {
            Some(x) if alias => value = x,
            _ => break,
        }
    }
    value
}

/// Replays the steps over a map of the bytes of the arena: whatever is read must still be what was
/// written there for that value, inputs by the caller and outputs for the caller included.
fn nothing_is_overwritten(name: &str, graph: &Graph, schedule: &Schedule, program: &Program) {
    let by_name: BTreeMap<&str, ValueId> = graph.values().map(|(id, v)| (v.name.as_str(), id)).collect();
    let mut memory: Vec<Option<ValueId>> = vec![None; program.arena];
    let tag = |name: &str| Some(origin(graph, schedule, by_name[name]));
    for port in &program.inputs {
        memory[port.at..port.at + port.bytes()].fill(tag(&port.name));
    }
    for step in &program.entries[0].steps {
        for write in [false, true] {
            for (arg, param) in step.args.iter().zip(&step.kernel.params) {
                let ParamKind::Buffer { access, .. } = param.kind else { continue };
                let Arg::Buffer { buffer, .. } = *arg else { continue };
                let b = &program.buffers[buffer.0 as usize];
                let Place::Arena(at) = b.place else { continue };
                let bytes = &mut memory[at..at + b.len * b.elem.size()];
                // A workspace holds no value.
                let tag = b.holds.as_ref().and_then(|holds| tag(&holds.value));
                if write && access != Access::Read {
                    bytes.fill(tag);
                } else if !write && access == Access::Read && tag.is_some() {
                    let intact = bytes.iter().all(|t| *t == tag);
                    assert!(
                        intact,
                        "{name}: `{}` is overwritten before `{}` reads it",
                        b.name, step.kernel.name
                    );
                }
            }
        }
    }
    for port in &program.outputs {
        let intact = memory[port.at..port.at + port.bytes()].iter().all(|t| *t == tag(&port.name));
        assert!(intact, "{name}: output `{}` is overwritten", port.name);
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

/// Arenas in KiB, inputs and outputs inside. TFLM with CMSIS-NN on Cortex-M4 takes 22.3, 53.7, 98.3,
/// 2.5 and 14.9 for the same networks.
#[test]
fn mlperf_arenas_keep_their_limits() {
    let Some(root) = zoo() else { return };
    let limits = [
        ("mlperf_kws_dscnn", 18.5),
        ("mlperf_ic_resnet8", 53.0),
        ("mlperf_vww_mobilenetv1", 58.0),
        ("mlperf_ad_autoencoder", 2.0),
        ("mlperf_sww_streaming", 9.0),
    ];
    for (model, limit) in limits {
        let path = root.join("third_party").join(model).join("model_int8_qdq.onnx");
        let (_, _, program) = compile(&path, &target("cortex-m4")).expect("a model of the zoo compiles");
        let kib = program.arena as f64 / 1024.0;
        println!("{model}: arena {} lower bound {}", program.arena, program.arena_lower_bound);
        assert!(kib <= limit, "{model}: {kib:.1} KiB, limit {limit}");
    }
}
