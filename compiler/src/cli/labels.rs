//! Labels of `secateur eval`: an array of any exporter's habit -> one target a sample.
//!
//! Law: labels that could be misread are refused by name; none is guessed at, cut or wrapped.

use super::data::csv::Labels as Given;
use crate::error::{Error, Result, Site};
use crate::tensor::{DType, Tensor};
use std::collections::{BTreeMap, BTreeSet};

/// What the labels are measured against.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Expected {
    /// Samples in the data, and how many of them are run (`--limit`).
    pub(crate) samples: usize,
    pub(crate) used: usize,
    /// Elements of the model's first output, and whether these are floats.
    pub(crate) outputs: usize,
    pub(crate) float: bool,
}

fn refuse(message: impl Into<String>, help: impl Into<String>) -> Error {
    Error::data(Site::Option("labels".into()), message).help(help)
}

/// Refuses a number of labels that is not that of the samples; with `--limit`, either counts.
fn count(labels: &Tensor, expected: &Expected) -> Result<usize> {
    let (n, samples) = (labels.shape().first().copied().unwrap_or(1), expected.samples);
    if labels.shape().is_empty() || n != samples && n != expected.used {
        return Err(refuse(
            format!("an array of shape {:?} for {samples} samples", labels.shape()),
            "the first axis counts samples: as many labels as the data have samples",
        ));
    }
    Ok(n)
}

/// Refuses what is no finite number.
fn finite(labels: &Tensor) -> Result<()> {
    let values = labels.as_f32().unwrap_or_default();
    match values.iter().position(|v| !v.is_finite()) {
        None => Ok(()),
        Some(at) => Err(refuse(
            format!("label {at} is {}, which is no finite number", values[at]),
            "look at how the labels were saved",
        )),
    }
}

/// Words as numbers: themselves if all are numbers, else the place of each among the names of classes, those given or all
/// that occur in the order of the alphabet; with these names.
///
/// Errors: a word that is none of the names given, and a name given twice.
fn numbered(words: &[String], classes: &[String]) -> Result<(Tensor, Vec<String>)> {
    let numbers: Option<Vec<f64>> = words.iter().map(|w| w.parse::<f64>().ok()).collect();
    if let Some(numbers) = numbers.filter(|_| classes.is_empty()) {
        let whole = numbers.iter().all(|v| v.fract() == 0.0 && v.abs() < 1e9);
        let shape = [numbers.len()];
        return Ok(match whole {
            true => (Tensor::i64(&shape, numbers.iter().map(|&v| v as i64).collect()), Vec::new()),
            false => (Tensor::f32(&shape, numbers.iter().map(|&v| v as f32).collect()), Vec::new()),
        });
    }
    let names: Vec<String> = match classes {
        [] => words.iter().cloned().collect::<BTreeSet<_>>().into_iter().collect(),
        given => given.to_vec(),
    };
    let mut places = BTreeMap::new();
    for (at, name) in names.iter().enumerate() {
        if places.insert(name.as_str(), at as i64).is_some() {
            return Err(Error::option("classes", format!("`{name}` is named twice")));
        }
    }
    let place = |(at, word): (usize, &String)| {
        places.get(word.as_str()).copied().ok_or_else(|| {
            let help = format!("the classes are {}", names.join(", "));
            refuse(format!("label {at}, `{word}`, is none of the classes"), help)
        })
    };
    let found = words.iter().enumerate().map(place).collect::<Result<Vec<i64>>>()?;
    Ok((Tensor::i64(&[found.len()], found), names))
}

/// Labels as an array, and the names of their classes where they were words; see [`numbered`].
///
/// Errors: those of it.
pub(crate) fn numbers(given: Given, classes: &[String]) -> Result<(Tensor, Vec<String>)> {
    match given {
        Given::Words(words) => numbered(&words, classes),
        Given::Array(array) => Ok((array, Vec::new())),
    }
}

/// The class of each sample that is run, from class numbers or one-hot rows.
pub(crate) fn classes(labels: &Tensor, expected: &Expected) -> Result<Vec<usize>> {
    let n = count(labels, expected)?;
    finite(labels)?;
    let classes = expected.outputs;
    if classes == 1 && expected.float {
        return Err(refuse(
            "the model's first output is one float, which names no class",
            "measure it with `--metric mse` against targets",
        ));
    }
    let values = labels.to_f64_vec();
    let numbers = if labels.len() == n {
        if labels.dtype() == DType::Bool {
            return Err(refuse(
                "the labels are bools, not class numbers",
                "say which class each stands for: `labels.astype(numpy.int64)`",
            ));
        }
        if let Some(at) = values.iter().position(|v| v.fract() != 0.0) {
            return Err(refuse(
                format!("label {at} is {}, which is no class number", values[at]),
                "for regression use `--metric mse`",
            ));
        }
        values
    } else if labels.len() == n * classes && classes > 1 {
        one_hot(&values, classes)?
    } else {
        return Err(refuse(
            format!("labels of shape {:?} do not fit an output of {classes} classes", labels.shape()),
            format!("give one class number a sample, or one-hot rows of {classes}"),
        ));
    };
    let (lo, hi) =
        numbers.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(lo, hi), &v| (lo.min(v), hi.max(v)));
    // An ArgMax inside the model does not tell how many classes there are.
    let last = if classes > 1 { classes as f64 - 1.0 } else { f64::INFINITY };
    if lo >= 1.0 && hi == last + 1.0 {
        return Err(refuse(
            format!(
                "the labels count from 1: they go from {lo} to {hi}, the {classes} classes from 0 to {last}"
            ),
            "subtract 1: `labels - 1`",
        ));
    }
    if lo < 0.0 || hi > last {
        return Err(refuse(
            format!("the labels go from {lo} to {hi}, the {classes} classes from 0 to {last}"),
            "labels are the places of the classes in the model's output, from 0",
        ));
    }
    Ok(numbers.into_iter().take(expected.used).map(|v| v as usize).collect())
}

/// The place of the only one in each row.
fn one_hot(values: &[f64], classes: usize) -> Result<Vec<f64>> {
    let place = |(sample, row): (usize, &[f64])| {
        let ones = row.iter().filter(|v| **v == 1.0).count();
        let zeros = row.iter().filter(|v| **v == 0.0).count();
        match row.iter().position(|v| *v == 1.0) {
            Some(at) if ones == 1 && zeros == classes - 1 => Ok(at as f64),
            _ => Err(refuse(
                format!("the labels of sample {sample} are not one-hot: one 1 and {} zeros", classes - 1),
                "give one class number a sample; for probabilities use `--metric mse`",
            )),
        }
    };
    values.chunks(classes).enumerate().map(place).collect()
}

/// The target of each sample that is run, for errors against real numbers.
pub(crate) fn targets(labels: &Tensor, expected: &Expected) -> Result<Vec<Vec<f64>>> {
    let n = count(labels, expected)?;
    finite(labels)?;
    if labels.dtype() == DType::Bool {
        return Err(refuse("the targets are bools, not numbers", "save them as floats"));
    }
    if labels.len() != n * expected.outputs {
        return Err(refuse(
            format!(
                "targets of shape {:?} do not fit an output of {} elements",
                labels.shape(),
                expected.outputs
            ),
            "give one target of the output's shape a sample; for class numbers use `--metric top1`",
        ));
    }
    let values = labels.to_f64_vec();
    Ok(values.chunks(expected.outputs.max(1)).take(expected.used).map(<[f64]>::to_vec).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::Data;

    const FOUR: Expected = Expected { samples: 4, used: 4, outputs: 3, float: true };

    #[track_caller]
    fn says(result: Result<Vec<usize>>, part: &str) {
        let error = result.expect_err("these labels are refused");
        assert!(error.message.contains(part) && error.help.is_some(), "{error}");
    }

    #[test]
    fn class_numbers_and_one_hot_rows_are_taken() {
        let want = Ok(vec![0, 2, 1, 1]);
        assert_eq!(classes(&Tensor::i64(&[4], vec![0, 2, 1, 1]), &FOUR), want);
        assert_eq!(classes(&Tensor::i64(&[4, 1], vec![0, 2, 1, 1]), &FOUR), want);
        assert_eq!(classes(&Tensor::f32(&[4], vec![0.0, 2.0, 1.0, 1.0]), &FOUR), want);
        let rows = [1, 0, 0, 0, 0, 1, 0, 1, 0, 0, 1, 0];
        assert_eq!(classes(&Tensor::f32(&[4, 3], rows.map(|v| v as f32).to_vec()), &FOUR), want);
        let bools = Tensor::new(vec![4, 3], Data::Bool(rows.map(|v| v == 1).to_vec())).unwrap();
        assert_eq!(classes(&bools, &FOUR), want);
        // The first two samples of four.
        let two = Expected { used: 2, ..FOUR };
        assert_eq!(classes(&Tensor::i64(&[4], vec![0, 2, 1, 1]), &two), Ok(vec![0, 2]));
        assert_eq!(classes(&Tensor::i64(&[2], vec![0, 2]), &two), Ok(vec![0, 2]));
    }

    #[test]
    fn labels_that_could_be_misread_are_refused() {
        let floats = |v: [f32; 4]| classes(&Tensor::f32(&[4], v.to_vec()), &FOUR);
        let ints = |v: &[i64]| classes(&Tensor::i64(&[v.len()], v.to_vec()), &FOUR);
        says(ints(&[1, 2, 3, 1]), "count from 1");
        says(ints(&[0, 1, 2, 3]), "from 0 to 3");
        says(ints(&[0, -1, 2, 1]), "from -1");
        says(ints(&[0, 1, 2]), "4 samples");
        says(ints(&[0, 1, 2, 1, 1]), "4 samples");
        says(floats([0.0, 1.5, 2.0, 1.0]), "1.5");
        says(floats([0.0, f32::NAN, 2.0, 1.0]), "NaN");
        says(classes(&Tensor::f32(&[4, 3], vec![0.25; 12]), &FOUR), "not one-hot");
        says(classes(&Tensor::f32(&[4, 2], vec![0.0; 8]), &FOUR), "do not fit");
        says(classes(&Tensor::i64(&[], vec![1]), &FOUR), "shape []");
        let bools = Tensor::new(vec![4], Data::Bool(vec![true; 4])).unwrap();
        says(classes(&bools, &FOUR), "bools");
        let one = Expected { outputs: 1, ..FOUR };
        says(classes(&Tensor::i64(&[4], vec![0; 4]), &one), "one float");
        // The output of an ArgMax is a class itself.
        let argmax = Expected { float: false, ..one };
        assert_eq!(classes(&Tensor::i64(&[4], vec![0, 9, 1, 1]), &argmax), Ok(vec![0, 9, 1, 1]));
    }

    #[test]
    fn names_are_numbered_in_the_order_given_or_of_the_alphabet() {
        let words = |all: &[&str]| -> Vec<String> { all.iter().map(|w| (*w).to_owned()).collect() };
        let said = words(&["walk", "run", "walk"]);
        let (numbers, names) = numbered(&said, &[]).unwrap();
        assert_eq!((numbers, names), (Tensor::i64(&[3], vec![1, 0, 1]), words(&["run", "walk"])));
        let (numbers, _) = numbered(&said, &words(&["sit", "walk", "run"])).unwrap();
        assert_eq!(numbers, Tensor::i64(&[3], vec![1, 2, 1]));
        assert_eq!(numbered(&words(&["2", "0"]), &[]).unwrap(), (Tensor::i64(&[2], vec![2, 0]), vec![]));
        assert_eq!(
            numbered(&words(&["0.5", "2"]), &[]).unwrap(),
            (Tensor::f32(&[2], vec![0.5, 2.0]), vec![])
        );
        let refused = |classes: &[&str]| numbered(&said, &words(classes)).unwrap_err().to_string();
        assert!(refused(&["walk"]).contains("label 1, `run`, is none of the classes"));
        assert!(refused(&["walk", "run", "walk"]).contains("`walk` is named twice"));
    }

    #[test]
    fn targets_have_the_shape_of_the_outputs() {
        let all = Tensor::f32(&[4, 3], (0..12).map(|v| v as f32).collect());
        let two = Expected { used: 2, ..FOUR };
        assert_eq!(targets(&all, &two), Ok(vec![vec![0.0, 1.0, 2.0], vec![3.0, 4.0, 5.0]]));
        let refused = |t: Tensor| targets(&t, &FOUR).expect_err("these targets are refused").message;
        assert!(refused(Tensor::i64(&[4], vec![0; 4])).contains("do not fit"));
        assert!(refused(Tensor::f32(&[5, 3], vec![0.0; 15])).contains("4 samples"));
        assert!(refused(Tensor::f32(&[4, 3], vec![f32::INFINITY; 12])).contains("inf"));
    }
}
