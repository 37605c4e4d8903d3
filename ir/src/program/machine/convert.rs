//! Floats to integers: by value, and by the order in which they compare.
//!
//! In: a float expression. Out: code for an integer, scalar where all lanes agree, else lane by lane.

use crate::kernel::interval::Interval;
use crate::kernel::{Expr, Ty};
use crate::program::machine::compile::{Compiler, No, Scope};
use crate::program::machine::env::Env;
use crate::program::machine::expr::{IntCode, IntKind, uniform_cost};
use crate::program::machine::lanes;
use crate::program::machine::uniform::{self, Int};

impl Compiler {
    /// The integer by which a float compares.
    pub(super) fn order(&mut self, scope: &mut Scope<'_>, a: &Expr) -> Result<IntCode, No> {
        let a = self.float(scope, a)?;
        let (range, cost) = (Interval::of(Ty::I32), a.cost);
        let of = |x: f32| i64::from(secateur_runtime::math::order(x));
        if a.is_uniform() {
            let f = a.uniform()?.code();
            let kind = IntKind::Uniform(Int::Code(Box::new(move |env| of(f(env)))));
            return Ok(IntCode { kind, range, cost: uniform_cost(cost) });
        }
        let (lane, temp) = (a.kind.lane(), self.float_lanes());
        let kind = IntKind::Code(Box::new(move |env, out| {
            let t = lanes::filled_float(&lane, env, temp, out.len());
            out.iter_mut().zip(&t).for_each(|(o, &v)| *o = of(v));
            env.lane_floats[temp] = t;
        }));
        Ok(IntCode { kind, range, cost: cost + self.pass() })
    }

    /// A float as an integer, towards zero.
    pub(super) fn truncate(&mut self, scope: &mut Scope<'_>, to: Ty, a: &Expr) -> Result<IntCode, No> {
        let a = self.float(scope, a)?;
        let (range, cost) = (Interval::of(to), a.cost);
        if a.is_uniform() {
            let f = a.uniform()?.code();
            let f = move |env: &mut Env| uniform::truncate(to, f(env));
            let kind = IntKind::Uniform(Int::Code(Box::new(f)));
            return Ok(IntCode { kind, range, cost: uniform_cost(cost) });
        }
        let (lane, temp) = (a.kind.lane(), self.float_lanes());
        let kind = IntKind::Code(Box::new(move |env, out| {
            let t = lanes::filled_float(&lane, env, temp, out.len());
            out.iter_mut().zip(&t).for_each(|(o, &v)| *o = uniform::truncate(to, v));
            env.lane_floats[temp] = t;
        }));
        Ok(IntCode { kind, range, cost: cost + self.pass() })
    }
}
