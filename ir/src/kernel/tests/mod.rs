//! Tests of the loop language as a whole: proof, simplifier and evaluator against the plain
//! meaning.

mod proofs;
