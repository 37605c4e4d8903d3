//! From named arrays of samples to the input tensors of one inference each.
//!
//! Samples of a model with states are steps of a sequence in their order; an axis in front of theirs counts sequences.
//!
//! Law: data are taken only if key, shape and type fit the model's inputs and every number is
//! finite, or missing (NaN) where the model asks for that; integers may feed float inputs, floats never feed integer ones.

use crate::error::{Error, Result, Site};
use crate::graph::closing::closing;
use crate::graph::{self, Graph, ValueId};
use crate::ops::Op;
use crate::tensor::{DType, Data, Samples, Tensor};
use crate::warning::Warning;

/// Samples in the order in which they run.
#[derive(Debug, Clone, PartialEq)]
pub struct Sequences {
    /// The inputs of one run each.
    pub samples: Vec<Vec<Tensor>>,
    /// So many of them follow each other before the states begin again; the last may be fewer.
    pub steps: usize,
}

impl Sequences {
    /// Samples of one sequence.
    pub fn one(samples: Vec<Vec<Tensor>>) -> Sequences {
        Sequences { steps: samples.len().max(1), samples }
    }
    /// The samples of each sequence.
    pub fn each(&self) -> impl Iterator<Item = &[Vec<Tensor>]> {
        self.samples.chunks(self.steps.max(1))
    }
}

/// Cuts samples into one list of input tensors each, in the types and shapes of the model.
///
/// The first axis of every array counts samples; the rest is the input's shape, axes of length
/// one aside (a flat input takes any shape with as many elements). At most `limit` samples are taken.
/// Of a model with states see [`sequences`].
pub fn split(samples: &Samples, graph: &Graph, limit: Option<usize>) -> Result<Vec<Vec<Tensor>>> {
    Ok(sequences(samples, graph, limit)?.samples)
}

/// As [`split`], for a model with states: samples are steps of one sequence in their order, or the first axis of
/// every array counts sequences and the second their steps.
///
/// Errors: as [`split`]; arrays that count differently.
pub fn sequences(samples: &Samples, graph: &Graph, limit: Option<usize>) -> Result<Sequences> {
    let inputs = graph.inputs();
    let mut columns = Vec::new();
    let mut counts = Vec::new();
    for &input in inputs {
        let (key, array) = find(samples, graph, input)?;
        let (column, steps) = cut((array, samples.flat.contains(key)), graph, input, limit)?;
        counts.push(steps);
        columns.push(column);
    }
    for extra in unused(samples, graph) {
        if let Some(&state) = graph.states().iter().find(|&&s| graph[s].name == extra) {
            let why = "the data have an array for this input, which is tied to an output and fed by it";
            return Err(Error::data(Site::Value(graph[state].name.clone()), why)
                .help("leave the array out, or compile without `--state` for it"));
        }
    }
    let count = columns.iter().map(Vec::len).min().unwrap_or(0);
    if columns.iter().any(|c| c.len() != count) {
        return Err(Error::data(Site::Whole, "the arrays have different numbers of samples"));
    }
    let steps = counts.first().copied().unwrap_or(1);
    if counts.iter().any(|c| *c != steps) {
        return Err(Error::data(Site::Whole, "the arrays have sequences of different numbers of steps"));
    }
    if count == 0 {
        return Err(Error::data(Site::Whole, "the data hold no sample"));
    }
    let mut columns: Vec<_> = columns.into_iter().map(Vec::into_iter).collect();
    let samples = (0..count).map(|_| columns.iter_mut().filter_map(Iterator::next).collect()).collect();
    Ok(Sequences { samples, steps })
}

/// As [`sequences`], each sample with what the states hold before it behind the inputs
/// ([`graph::carried`]): what the float model meets when it runs.
pub fn carried(samples: &Samples, graph: &Graph) -> Result<Vec<Vec<Tensor>>> {
    let Sequences { samples, steps } = sequences(samples, graph, None)?;
    graph::carried(graph, samples, steps)
}

/// The samples of every array at the places of its first axis that `places` names, which hears how many there are;
/// `None` where an array has no axis that counts samples, or none at a place.
pub(crate) fn part(samples: &Samples, places: impl Fn(usize) -> Vec<usize>) -> Option<Samples> {
    let mut part = samples.clone();
    for array in part.arrays.values_mut() {
        let (all, rest) = array.shape().split_first()?;
        let places = places(*all);
        let shape = std::iter::once(places.len()).chain(rest.iter().copied()).collect();
        let bytes = array.data().to_le_bytes();
        let size = rest.iter().product::<usize>() * array.dtype().size();
        let mut rows = Vec::with_capacity(places.len() * size);
        for at in places {
            rows.extend_from_slice(bytes.get(at * size..(at + 1) * size)?);
        }
        *array = Tensor::new(shape, Data::from_le_bytes(array.dtype(), &rows)).ok()?;
    }
    Some(part)
}

/// The first `count` samples of every array, all where there are fewer.
pub(crate) fn first(samples: &Samples, count: usize) -> Option<Samples> {
    part(samples, |all| (0..count.min(all)).collect())
}

fn input_names(graph: &Graph) -> String {
    graph.inputs().iter().map(|&i| format!("`{}`", graph[i].name)).collect::<Vec<_>>().join(", ")
}

/// Arrays that no input reads. The only array of data feeds the only input, whatever it is called.
pub fn unused<'a>(samples: &'a Samples, graph: &Graph) -> Vec<&'a str> {
    let keys = samples.arrays.keys().map(String::as_str);
    let read = |key: &str| only(samples, graph) || graph.inputs().iter().any(|&i| graph[i].name == key);
    keys.filter(|key| !key.is_empty() && !read(key)).collect()
}

/// Warns of arrays that no input reads.
pub fn warnings(samples: &Samples, graph: &Graph) -> Vec<Warning> {
    let warn = |key: &str| {
        let why = "the data have an array that is no input of the model, and is not read";
        let help = format!("the inputs are: {}", input_names(graph));
        Warning::new(Site::Value(key.to_owned()), why).help(help)
    };
    unused(samples, graph).into_iter().map(warn).collect()
}

/// Whether the data have one array and the model one input.
fn only(samples: &Samples, graph: &Graph) -> bool {
    graph.inputs().len() == 1 && samples.arrays.len() == 1
}

/// The array of an input, with its key.
fn find<'a>(samples: &'a Samples, graph: &Graph, input: ValueId) -> Result<(&'a String, &'a Tensor)> {
    let name = &graph[input].name;
    // The array of an input that is tied to an output is not taken for another's.
    let tied = |key: &str| graph.states().iter().any(|&s| graph[s].name == key);
    let alone = || samples.arrays.first_key_value().filter(|(key, _)| only(samples, graph) && !tied(key));
    samples.arrays.get_key_value(name).or_else(alone).ok_or_else(|| {
        let have: Vec<_> = samples.arrays.keys().map(|k| format!("`{k}`")).collect();
        Error::data(Site::Value(name.clone()), "the data have no array for this input").help(format!(
            "the model's inputs are {}; the file holds {}",
            input_names(graph),
            have.join(", ")
        ))
    })
}

/// The samples of an input, and how many make a sequence.
fn cut(
    (array, flat): (&Tensor, bool),
    graph: &Graph,
    input: ValueId,
    limit: Option<usize>,
) -> Result<(Vec<Tensor>, usize)> {
    let value = &graph[input];
    let carries = !graph.states().is_empty();
    let wrong = || {
        Error::data(
            Site::Value(value.name.clone()),
            format!("an array of shape {:?} does not hold samples of shape {:?}", array.shape(), value.shape),
        )
        .help(match carries {
            false => "the first axis counts samples; the rest is one sample",
            true => {
                "the first axis counts the steps of a sequence, or the first two sequences and steps; the rest is one \
                 sample"
            }
        })
    };
    let ours: Vec<usize> = value.shape.iter().copied().filter(|&d| d != 1).collect();
    let fits = |rest: &[usize]| {
        let theirs: Vec<usize> = rest.iter().copied().filter(|&d| d != 1).collect();
        // A model that takes one flat axis may be fed the same elements in their shape.
        ours == theirs || (flat || ours.len() <= 1) && rest.iter().product::<usize>() == value.len()
    };
    let (count, steps) = match array.shape() {
        // An axis of the sample's own would be of length one; so is that of steps where there is but one.
        [sequences, steps, rest @ ..]
            if carries && *steps != 1 && rest.len() == value.shape.len() && fits(rest) =>
        {
            (sequences.checked_mul(*steps).ok_or_else(wrong)?, *steps)
        }
        [count, rest @ ..] if fits(rest) => (*count, *count),
        [sequences, steps, rest @ ..] if carries && fits(rest) => {
            (sequences.checked_mul(*steps).ok_or_else(wrong)?, *steps)
        }
        _ => return Err(wrong()),
    };
    if let Some(v) = array.as_f32()
        && v.iter().any(|x| !x.is_finite())
    {
        let closes = closing(graph).get(input.index()) == Some(&true);
        let lacks = may_lack(graph, input);
        let fits = |x: &f32| x.is_finite() || x.is_nan() && lacks || *x == f32::NEG_INFINITY && closes;
        if let Some(at) = v.iter().position(|x| !fits(x)) {
            let sample = at / value.len().max(1);
            let error = Error::data(
                Site::Value(value.name.clone()),
                format!("sample {sample} of the data holds {}, which is no finite number", v[at]),
            );
            return Err(match v[at].is_nan() {
                true => error,
                false => error.help(
                    "minus infinity is taken where an input closes scores: where all that reads it adds it to what a \
                     Softmax reads, or chooses it there; give the least number that the model means elsewhere",
                ),
            });
        }
    }
    let len = value.len();
    let cast = cast(array, value.dtype).ok_or_else(|| {
        Error::data(
            Site::Value(value.name.clone()),
            format!("data of type {} do not fit an input of type {}", array.dtype(), value.dtype),
        )
    })?;
    let bytes = cast.to_le_bytes();
    let size = len * value.dtype.size();
    let count = limit.map_or(count, |l| count.min(l));
    let samples = (0..count)
        .map(|i| {
            let part = &bytes[i * size..(i + 1) * size];
            Tensor::new(value.shape.clone(), Data::from_le_bytes(value.dtype, part))
        })
        .collect::<Result<_>>()?;
    Ok((samples, steps.max(1)))
}

/// Whether the model asks which elements of an input are no numbers: by a tree, or itself.
fn may_lack(graph: &Graph, input: ValueId) -> bool {
    graph.consumers(input).into_iter().any(|reader| match &graph[reader].op {
        Op::TreeEnsemble(_) => true,
        Op::Map(map) => map.function == "IsNaN",
        _ => false,
    })
}

/// Data in another type, if that loses nothing (floats never become integers).
fn cast(array: &Tensor, to: DType) -> Option<Data> {
    if array.dtype() == to {
        return Some(array.data().clone());
    }
    if to.is_float() {
        return Some(Data::F32(array.to_f32_vec()));
    }
    if array.dtype().is_float() {
        return None;
    }
    let values = array.to_i64_vec();
    let (lo, hi) = to.range()?;
    values.iter().all(|&v| (lo..=hi).contains(&i128::from(v))).then(|| Data::from_i64(to, &values))
}
