//! The table of an instruction set: one row for each instruction.
//!
//! In: rows `Name(operand: Role, ...) form, "text" => meaning;`. Out of a row follow the variant
//! of the enum, which registers it touches and how ([`Touch`]), whether its constants have an
//! encoding, what the set says of size and cost (its `form`), the text, and for tests the meaning
//! and the operands of a case on the emulator. Law: nothing of an instruction stands elsewhere,
//! but where one row is spelled by several instructions.

use std::marker::PhantomData;

/// How an instruction touches a register.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Touch {
    Read,
    /// Read late: the addend of a multiply-accumulate.
    Addend,
    /// An address, and one that the instruction moves.
    Base,
    Moved,
    /// Added to an address.
    Index,
    /// The amount of a shift.
    Amount,
    Write,
    /// Written before all operands are read.
    Early,
    /// Read, then written.
    Both,
    /// Written in part: the rest stays, whether it holds a value or not.
    Part,
}

impl Touch {
    pub fn reads(self) -> bool {
        !matches!(self, Touch::Write | Touch::Early | Touch::Part)
    }
    pub fn writes(self) -> bool {
        matches!(self, Touch::Write | Touch::Early | Touch::Both | Touch::Moved | Touch::Part)
    }
}

/// Registers of one kind, as places in the numbering that all kinds of a set share.
pub trait Register: Copy {
    const FIRST: u32;
    fn number(self) -> u32;
    fn of(number: u32) -> Self;
    fn place(self) -> u32 {
        Self::FIRST + self.number()
    }
}

/// Kinds of registers by number: the place of the first, and how one is named.
macro_rules! registers {
    ($($(#[$doc:meta])* $register:ident($int:ty) from $first:expr, $name:expr;)*) => { $(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $register(pub $int);

        #[allow(clippy::unnecessary_cast)]
        impl $crate::asm::table::Register for $register {
            const FIRST: u32 = $first;
            fn number(self) -> u32 {
                self.0 as u32
            }
            fn of(number: u32) -> $register {
                $register(number as $int)
            }
        }

        impl std::fmt::Display for $register {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                let name: fn(u32) -> String = $name;
                f.write_str(&name($crate::asm::table::Register::number(*self)))
            }
        }
    )* };
}
pub(crate) use registers;

/// The name of an Arm core's register.
pub fn arm(number: u32) -> String {
    match number {
        13 => "sp".into(),
        14 => "lr".into(),
        n => format!("r{n}"),
    }
}

/// What an operand is, by its role in a row.
pub trait Operand {
    /// What stands in the instruction.
    type Field: Copy;
    /// Every register that the operand names.
    fn visit(_: Self::Field, _: &mut dyn FnMut(u32, Touch)) {}
    /// Puts another register in the place of the operand's.
    fn rename(_: &mut Self::Field, _: &dyn Fn(u32) -> u32) {}
    fn legal(_: Self::Field) -> bool {
        true
    }
    /// An operand for a case on the emulator; none where a case needs more than one instruction.
    #[cfg(any(test, feature = "testing"))]
    fn draw(draw: &mut dyn Draw) -> Option<Self::Field>;
}

/// Where cases on the emulator take their operands from.
#[cfg(any(test, feature = "testing"))]
pub trait Draw {
    /// A register, by the first of its kind and its use: the number within its kind.
    fn register(&mut self, first: u32, touch: Touch) -> u32;
    /// A constant of a range: the ends first.
    fn number(&mut self, lo: i64, hi: i64) -> i64;
    /// One of so many kinds, in turn; each is tried with each of the row's other choices.
    fn choice(&mut self, of: usize) -> usize;
}

/// The value of an operand on the model `M` of a core, and what is written back to it.
#[cfg(any(test, feature = "testing"))]
pub trait Value<M>: Operand {
    type Value;
    fn get(field: Self::Field, m: &M) -> Self::Value;
    fn put(_: Self::Field, _: Self::Value, _: &mut M) {}
}

/// Registers of a kind, on the model of a core.
#[cfg(any(test, feature = "testing"))]
pub trait File<R> {
    type Word;
    fn read(&self, r: R) -> Self::Word;
    fn write(&mut self, r: R, v: Self::Word);
}

macro_rules! roles {
    ($($(#[$doc:meta])* $role:ident $touch:ident)*) => { $(
        $(#[$doc])*
        pub struct $role<R>(PhantomData<R>);

        impl<R: Register> Operand for $role<R> {
            type Field = R;
            fn visit(r: R, f: &mut dyn FnMut(u32, Touch)) {
                f(r.place(), Touch::$touch);
            }
            fn rename(r: &mut R, to: &dyn Fn(u32) -> u32) {
                *r = R::of(to(r.place()) - R::FIRST);
            }
            #[cfg(any(test, feature = "testing"))]
            fn draw(draw: &mut dyn Draw) -> Option<R> {
                Some(R::of(draw.register(R::FIRST, Touch::$touch)))
            }
        }

        #[cfg(any(test, feature = "testing"))]
        impl<R: Register, M: File<R>> Value<M> for $role<R> {
            type Value = M::Word;
            fn get(r: R, m: &M) -> M::Word {
                m.read(r)
            }
            fn put(r: R, v: M::Word, m: &mut M) {
                if Touch::$touch.writes() {
                    m.write(r, v);
                }
            }
        }
    )* };
}

roles! {
    Out Write
    Early Early
    In Read
    Both Both
    Part Part
    Addend Addend
    Base Base
    Moved Moved
    Index Index
    Amount Amount
}

/// A constant of `LO..=HI` that is a multiple of `OF`.
pub struct Imm<const LO: i32, const HI: i32, const OF: i32 = 1>;
/// The same, unsigned.
pub struct Num<const LO: u32, const HI: u32, const OF: u32 = 1>;

macro_rules! constants {
    ($($role:ident $int:ident)*) => { $(
        impl<const LO: $int, const HI: $int, const OF: $int> Operand for $role<LO, HI, OF> {
            type Field = $int;
            fn legal(v: $int) -> bool {
                (LO..=HI).contains(&v) && v % OF == 0
            }
            #[cfg(any(test, feature = "testing"))]
            fn draw(draw: &mut dyn Draw) -> Option<$int> {
                let [lo, hi, of] = [LO, HI, OF].map(i64::from);
                Some((draw.number(lo / of, hi / of) * of) as $int)
            }
        }

        #[cfg(any(test, feature = "testing"))]
        impl<M, const LO: $int, const HI: $int, const OF: $int> Value<M> for $role<LO, HI, OF> {
            type Value = $int;
            fn get(v: $int, _: &M) -> $int {
                v
            }
        }
    )* };
}

constants! { Imm i32 Num u32 }

/// Operands that are themselves, drawn from a list: labels and the like from an empty one.
macro_rules! plain_operands {
    ($($kind:ty: $all:expr;)*) => { $(
        impl $crate::asm::table::Operand for $kind {
            type Field = $kind;
            #[cfg(any(test, feature = "testing"))]
            fn draw(draw: &mut dyn $crate::asm::table::Draw) -> Option<$kind> {
                let all: &[$kind] = &$all;
                (!all.is_empty()).then(|| all[draw.choice(all.len())])
            }
        }

        #[cfg(any(test, feature = "testing"))]
        impl<M> $crate::asm::table::Value<M> for $kind {
            type Value = $kind;
            fn get(v: $kind, _: &M) -> $kind {
                v
            }
        }
    )* };
}
pub(crate) use plain_operands;

/// Operands of a few kinds, each with its text.
macro_rules! choices {
    ($($(#[$doc:meta])* $kind:ident { $($(#[$each:meta])* $choice:ident $text:literal)* })*) => { $(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $kind {
            $( $(#[$each])* $choice, )*
        }

        impl std::fmt::Display for $kind {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(match self {
                    $( $kind::$choice => $text, )*
                })
            }
        }

        $crate::asm::table::plain_operands! { $kind: [$($kind::$choice),*]; }
    )* };
}
pub(crate) use choices;

/// Writes back the values of all operands.
#[cfg(any(test, feature = "testing"))]
pub trait Values<M, F, V> {
    fn put(fields: F, values: V, m: &mut M);
}

#[cfg(any(test, feature = "testing"))]
macro_rules! values {
    ($($($role:ident $n:tt)*;)*) => { $(
        impl<M, $($role: Value<M>),*> Values<M, ($($role::Field,)*), ($($role::Value,)*)> for ($($role,)*) {
            #[allow(unused_variables)]
            fn put(fields: ($($role::Field,)*), values: ($($role::Value,)*), m: &mut M) {
                $( $role::put(fields.$n, values.$n, m); )*
            }
        }
    )* };
}

#[cfg(any(test, feature = "testing"))]
values! {
    ;
    A 0;
    A 0 B 1;
    A 0 B 1 C 2;
    A 0 B 1 C 2 D 3;
    A 0 B 1 C 2 D 3 E 4;
}

/// The instructions of a set. `form` is what the set's own machinery asks of a row, `s` a text that
/// the printer puts into the row's, `m` the model of the core on which the meaning runs: an
/// operand that is read has its value there, one that is written takes it.
macro_rules! instructions {
    (
        form $Form:ty, text $s:ident, model $m:ident: $Model:ty;
        $(
            $(#[$doc:meta])*
            $name:ident($($op:ident: $role:ty),*) $form:expr, $text:literal $(, $key:ident = $value:expr)* => $meaning:expr;
        )*
    ) => {
        /// One instruction. A table is whole, whether a kernel needs each row or not.
        #[allow(dead_code)]
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Inst {
            $( $(#[$doc])* $name($(<$role as $crate::asm::table::Operand>::Field),*), )*
        }

        impl $crate::asm::verify::Instruction for Inst {
            fn visit(&self, f: &mut dyn FnMut(u32, $crate::asm::table::Touch)) {
                Inst::visit(self, f);
            }
            fn legal(&self) -> bool {
                Inst::legal(self)
            }
        }

        #[allow(clippy::unused_unit, dead_code, unused_variables, unused_mut, unused_assignments)]
        impl Inst {
            /// Every register in the order of the row, and how it is touched.
            pub fn visit(&self, f: &mut dyn FnMut(u32, $crate::asm::table::Touch)) {
                match *self {
                    $( Inst::$name($($op),*) => { $( <$role as $crate::asm::table::Operand>::visit($op, f); )* } )*
                }
            }
            /// The same instruction on other registers.
            pub fn map(&self, to: &dyn Fn(u32) -> u32) -> Inst {
                match *self {
                    $( Inst::$name($(mut $op),*) => {
                        $( <$role as $crate::asm::table::Operand>::rename(&mut $op, to); )*
                        Inst::$name($($op),*)
                    } )*
                }
            }
            /// Whether all constants have an encoding, and stand beside each other.
            pub fn legal(&self) -> bool {
                self.form().encodes && match *self {
                    $( Inst::$name($($op),*) => true $( && <$role as $crate::asm::table::Operand>::legal($op) )*, )*
                }
            }
            /// What the set's own machinery knows of it.
            pub fn form(&self) -> $Form {
                match *self {
                    $( Inst::$name($($op),*) => $form, )*
                }
            }
            pub fn text(&self, $s: &str) -> String {
                match *self {
                    $( Inst::$name($($op),*) => format!($text $(, $key = $value)*), )*
                }
            }
            /// Does what the instruction means.
            #[cfg(any(test, feature = "testing"))]
            pub fn execute(&self, $m: &mut $Model) {
                use $crate::asm::table::{Value, Values};
                match *self {
                    $( Inst::$name($($op),*) => {
                        let values = {
                            $( let mut $op = <$role as Value<$Model>>::get($op, $m); )*
                            $meaning;
                            ($($op,)*)
                        };
                        <($($role,)*) as Values<_, _, _>>::put(($($op,)*), values, $m);
                    } )*
                }
            }
            #[cfg(any(test, feature = "testing"))]
            pub fn name(&self) -> &'static str {
                match self {
                    $( Inst::$name(..) => stringify!($name), )*
                }
            }
            /// The rows' names.
            #[cfg(any(test, feature = "testing"))]
            pub const NAMES: &[&str] = &[$( stringify!($name) ),*];
            /// An instruction of the row, if one can be drawn.
            #[cfg(any(test, feature = "testing"))]
            pub fn draw(name: &str, draw: &mut dyn $crate::asm::table::Draw) -> Option<Inst> {
                match name {
                    $( stringify!($name) => {
                        Some(Inst::$name($( <$role as $crate::asm::table::Operand>::draw(draw)? ),*))
                    } )*
                    _ => None,
                }
            }
        }
    };
}
pub(crate) use instructions;
