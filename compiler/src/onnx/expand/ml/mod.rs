//! Operators of `ai.onnx.ml`, which scikit-learn, LightGBM and XGBoost export: trees, linear models, support
//! vectors, and what prepares features and names labels.
//!
//! In: numbers, and names of classes, for which their numbers stand; other text is refused. Out: nodes of the
//! default domain. Law: labels and scores are onnxruntime's, where the standard leaves them open too.

mod classes;
mod features;
mod labels;
mod linear;
mod read;
mod scores;
mod svm;
mod trees;

use super::Expand;
use super::build::Builder;
use crate::error::Result;
use crate::ops::Attr;
use crate::ops::check::refuse;
use crate::tensor::DType;

/// By operator, what writes it.
pub(super) const TABLE: &[(&str, Expand)] = &[
    ("ai.onnx.ml.ArrayFeatureExtractor", features::extract),
    ("ai.onnx.ml.Binarizer", features::binarize),
    ("ai.onnx.ml.CategoryMapper", labels::map_categories),
    ("ai.onnx.ml.FeatureVectorizer", features::join),
    ("ai.onnx.ml.Imputer", features::impute),
    ("ai.onnx.ml.LabelEncoder", labels::encode),
    ("ai.onnx.ml.LinearClassifier", linear::classifier),
    ("ai.onnx.ml.LinearRegressor", linear::regressor),
    ("ai.onnx.ml.Normalizer", features::normalize),
    ("ai.onnx.ml.OneHotEncoder", labels::one_hot),
    ("ai.onnx.ml.SVMClassifier", svm::classifier),
    ("ai.onnx.ml.SVMRegressor", svm::regressor),
    ("ai.onnx.ml.Scaler", features::scale),
    ("ai.onnx.ml.TreeEnsemble", trees::ensemble),
    ("ai.onnx.ml.TreeEnsembleClassifier", trees::classifier),
    ("ai.onnx.ml.TreeEnsembleRegressor", trees::regressor),
    ("ai.onnx.ml.ZipMap", labels::zip_map),
];

/// A list of floats; empty where it is left out. It may stand in a tensor, whose attribute's name ends so.
fn floats(b: &Builder<'_>, name: &str) -> Result<Vec<f32>> {
    let wrong = |name: &str| refuse(format!("attribute `{name}` is not a list of floats"));
    let tensor = format!("{name}_as_tensor");
    match (b.cx.attrs.get(name), b.cx.attrs.get(&tensor)) {
        (Some(Attr::Floats(list)), _) if !list.is_empty() => Ok(list.clone()),
        (Some(Attr::Tensor(t)), _) | (_, Some(Attr::Tensor(t))) if t.dtype().is_float() => Ok(t.to_f32_vec()),
        (None | Some(Attr::Floats(_)), None) => Ok(Vec::new()),
        (None | Some(Attr::Floats(_)), Some(_)) => Err(wrong(&tensor)),
        (Some(_), _) => Err(wrong(name)),
    }
}

/// A list of integers; empty where it is left out.
fn ints<'a>(b: &Builder<'a>, name: &str) -> Result<&'a [i64]> {
    Ok(b.cx.ints(name)?.unwrap_or_default())
}

/// A list of words; empty where it is left out.
fn words<'a>(b: &Builder<'a>, name: &str) -> Result<&'a [String]> {
    match b.cx.attrs.get(name) {
        None => Ok(&[]),
        Some(Attr::Strs(list)) => Ok(list),
        // An empty list says no type.
        Some(Attr::Ints(list)) if list.is_empty() => Ok(&[]),
        Some(_) => Err(refuse(format!("attribute `{name}` is not a list of strings"))),
    }
}

/// Features as rows of floats.
struct Rows {
    x: String,
    rows: usize,
    features: usize,
}

/// The first input as floats, whatever numbers it brings; one axis is one row.
fn rows(b: &mut Builder<'_>) -> Result<Rows> {
    let shape = b.shape(0)?;
    let mut x = float_input(b, 0)?;
    let (rows, features) = match *shape {
        [features] => {
            x = b.reshape(&x, &[1, features]);
            (1, features)
        }
        [rows, features] => (rows, features),
        _ => return Err(refuse(format!("the input has shape {shape:?} instead of rows of features"))),
    };
    Ok(Rows { x, rows, features })
}

/// An input as floats.
fn float_input(b: &mut Builder<'_>, index: usize) -> Result<String> {
    let x = b.input(index)?;
    Ok(if b.operand(index)?.dtype == DType::F32 { x } else { b.cast(&x, DType::F32) })
}
