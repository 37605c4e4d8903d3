//! The operators that are supported, and how far: what `secateur operators` prints and the README lists.
//!
//! In: the tables of `ops`, `onnx` and `quantize`. Out: a row for each operator. Law: names and forms are those of
//! the tables that decide, and nothing is listed that they do not have; what is said of limits stands here, each
//! limit under a name that there is.

use crate::onnx;
use crate::ops::Op;
use crate::quantize::{self, Form};
use serde::{Serialize, Serializer};

/// How an operator computes in an int8 model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Int8 {
    /// On integers.
    Integers,
    /// By a table of 256 bytes.
    Table,
    /// By such a table if all operands but one are constants of one element, else in floats.
    TableOrFloats,
    /// In floats, between values of eight bits.
    Floats,
    /// As in a float model: its values are bools or integers.
    Unreal,
    /// As the operators that it is written in.
    Parts,
    /// Not at all: it says how values are stored.
    Scales,
    /// Not at all: it is known at compile time.
    Folded,
}

impl Int8 {
    pub fn name(self) -> &'static str {
        match self {
            Int8::Integers => "integers",
            Int8::Table => "table",
            Int8::TableOrFloats => "table or floats",
            Int8::Floats => "floats",
            Int8::Unreal => "unreal",
            Int8::Parts => "parts",
            Int8::Scales => "scales",
            Int8::Folded => "folded",
        }
    }
}

impl Serialize for Int8 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// An operator of ONNX.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Supported {
    pub name: &'static str,
    /// Empty: the default one.
    pub domain: &'static str,
    /// Whether it computes in a float model; else it folds away.
    pub float: bool,
    pub int8: Int8,
    /// What must be known at compile time, and which of its forms are refused; empty: nothing.
    pub limits: String,
}

/// All operators, sorted by domain and name.
pub fn all() -> Vec<Supported> {
    let own: Vec<&str> = Op::names().collect();
    let at_run_time = onnx::supported();
    let folded = onnx::folded().filter(|n| !at_run_time.contains(n));
    let row = |full: &'static str, int8: Int8| {
        let (domain, name) = full.rsplit_once('.').unwrap_or(("", full));
        Supported { name, domain, float: int8 != Int8::Folded, int8, limits: limits(full) }
    };
    let form = |name: &&'static str| match own.contains(name) {
        _ if ON_INTEGERS.contains(name) => row(name, Int8::Integers),
        false => row(name, Int8::Parts),
        true => row(
            name,
            match quantize::form(name) {
                Form::Integers => Int8::Integers,
                Form::Table => Int8::Table,
                Form::TableOrFloats => Int8::TableOrFloats,
                Form::Floats => Int8::Floats,
                Form::Unreal => Int8::Unreal,
                Form::Scales => Int8::Scales,
                Form::Folded => Int8::Folded,
            },
        ),
    };
    let mut rows: Vec<Supported> = at_run_time.iter().map(form).collect();
    rows.extend(folded.map(|name| row(name, Int8::Folded)));
    rows.sort_by_key(|r| (r.domain, r.name));
    rows
}

/// Operators that are written in others, on import or by a pass, which compute on integers.
const ON_INTEGERS: &[&str] =
    &["Attention", "BatchNormalization", "GRU", "LSTM", "LayerNormalization", "RMSNormalization", "RNN"];

fn limits(name: &str) -> String {
    let known = KNOWN.iter().find(|r| r.0 == name).map(|r| format!("known at compile time: {}", r.1));
    let other = LIMITS.iter().find(|r| r.0 == name).map(|r| r.1.to_string());
    known.into_iter().chain(other).collect::<Vec<_>>().join("; ")
}

/// Operands that must be known at compile time.
const KNOWN: &[(&str, &str)] = &[
    ("AffineGrid", "size"),
    ("BlackmanWindow", "size"),
    ("CenterCropPad", "shape"),
    ("Col2Im", "image and block"),
    ("ConstantOfShape", "shape"),
    ("CumProd", "axis"),
    ("CumSum", "axis"),
    ("DFT", "length, axis"),
    ("Dropout", "ratio, training_mode"),
    ("Expand", "shape"),
    ("HammingWindow", "size"),
    ("HannWindow", "size"),
    ("Loop", "number of iterations, condition"),
    ("MaxUnpool", "output_shape"),
    ("MelWeightMatrix", "all operands"),
    ("OneHot", "depth"),
    ("Pad", "pads, value, axes"),
    ("Range", "all operands"),
    ("ReduceL1", "axes"),
    ("ReduceL2", "axes"),
    ("ReduceLogSum", "axes"),
    ("ReduceLogSumExp", "axes"),
    ("ReduceMax", "axes"),
    ("ReduceMean", "axes"),
    ("ReduceMin", "axes"),
    ("ReduceProd", "axes"),
    ("ReduceSum", "axes"),
    ("ReduceSumSquare", "axes"),
    ("Reshape", "shape"),
    ("Resize", "scales, sizes"),
    ("STFT", "step, window, length"),
    ("SequenceAt", "position"),
    ("SequenceErase", "position"),
    ("SequenceInsert", "position"),
    ("Slice", "starts, ends, axes, steps"),
    ("Split", "sizes"),
    ("SplitToSequence", "sizes"),
    ("Squeeze", "axes"),
    ("Tile", "repeats"),
    ("TopK", "k"),
    ("Trilu", "k"),
    ("Unsqueeze", "axes"),
    ("Upsample", "scales"),
];

/// Recurrent layers on integers.
const USUAL: &str = "in int8 by constant weights and the usual activations; else in floats";

/// Quantizers on integers.
const QUANTIZER: &str = "in int8 by a constant scale and 16 bits or fewer; else in floats";

/// Forms that are refused, and what is otherwise worth knowing.
const LIMITS: &[(&str, &str)] = &[
    (
        "Attention",
        "in int8 on integers up to 512 keys, in floats for more; where a mask of floats closes all keys, in int8 their mean",
    ),
    ("AveragePool", "one to three spatial axes"),
    ("BatchNormalization", "in its form for inference; in int8 by constant parameters"),
    ("Conv", "one to three spatial axes; in int8 by constant weights"),
    ("ConvInteger", "sums of at most 256 products"),
    ("ConvTranspose", "one to three spatial axes"),
    ("DequantizeLinear", QUANTIZER),
    ("Dropout", "in its form for inference"),
    (
        "If",
        "where the condition is computed at run time, both branches are, to results of one type and shape",
    ),
    ("LSTM", USUAL),
    ("Loop", "written out iteration by iteration, 4096 nodes at most"),
    ("LpPool", "sizes rounded down"),
    ("MaxPool", "one to three spatial axes"),
    ("NonZero", "where all that it reads is known"),
    ("OneHot", "one axis for one index"),
    ("QuantizeLinear", QUANTIZER),
    ("RNN", USUAL),
    ("STFT", "of real signals"),
    ("Scan", "written out iteration by iteration; in operator set 8 for sequences of full length"),
    ("SequenceConstruct", "inside of the model: inputs and results are tensors"),
    ("ai.onnx.ml.CategoryMapper", "names become numbers; from text only where it names classes"),
    ("ai.onnx.ml.FeatureVectorizer", "sizes as `inputdimensions` says"),
    ("ai.onnx.ml.LabelEncoder", "names become numbers; from text only where it names classes"),
    ("ai.onnx.ml.LinearClassifier", "names of classes become numbers"),
    ("ai.onnx.ml.Normalizer", "one or two axes"),
    ("ai.onnx.ml.OneHotEncoder", "categories that are numbers"),
    ("ai.onnx.ml.SVMClassifier", "names of classes become numbers"),
    ("ai.onnx.ml.TreeEnsemble", "with SOFTMAX or LOGISTIC as a node of its own"),
    ("ai.onnx.ml.TreeEnsembleClassifier", "names of classes become numbers"),
    ("ai.onnx.ml.ZipMap", "the scores stand for the dictionaries"),
    ("com.microsoft.SkipLayerNormalization", "without its mean and deviation as results"),
    ("com.microsoft.SkipSimplifiedLayerNormalization", "without its mean and deviation as results"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_limited_is_listed() {
        let all = all();
        let full = |r: &Supported| match r.domain {
            "" => r.name.to_string(),
            domain => format!("{domain}.{}", r.name),
        };
        let names: Vec<String> = all.iter().map(full).collect();
        let mut sorted = names.clone();
        sorted.sort_by(|a, b| (a.contains('.'), a).cmp(&(b.contains('.'), b)));
        sorted.dedup();
        assert_eq!(names, sorted);
        for table in [KNOWN, LIMITS] {
            assert!(table.is_sorted_by(|a, b| a.0 < b.0), "the table is not sorted");
            for (name, _) in table {
                assert!(names.iter().any(|n| n == name), "{name}");
            }
        }
        for name in onnx::supported() {
            assert!(names.iter().any(|n| n == name), "{name}");
        }
    }

    #[test]
    fn a_row_says_how_it_computes() {
        let all = all();
        let row = |name: &str| all.iter().find(|r| r.name == name).unwrap();
        assert_eq!((row("Conv").int8, row("Conv").float), (Int8::Integers, true));
        assert_eq!((row("Range").int8, row("Range").float), (Int8::Folded, false));
        assert_eq!(row("Resize").int8, Int8::Parts);
        assert_eq!(row("QLinearAdd").domain, "com.microsoft");
        assert_eq!(row("Reshape").limits, "known at compile time: shape");
    }
}
