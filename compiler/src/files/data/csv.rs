//! Tables of numbers as text: one sample a row, as spreadsheets and data frames write them.
//!
//! In: the bytes of a `.csv`, `.tsv` or `.txt` file, and which column holds labels, if one does. Out: an array of rows,
//! and the labels. Law: a field that is no number is refused by line and column, never read as zero or left out.

use crate::error::{Error, Result, Site};
use crate::tensor::Tensor;
use std::path::Path;

/// A table, read.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Table {
    /// `[rows, columns]`, without the column of labels.
    pub(crate) numbers: Tensor,
    /// The column of labels, as it is spelled.
    pub(crate) labels: Option<Vec<String>>,
}

/// The character that parts fields: the one that the first line has most of.
fn delimiter(bytes: &[u8]) -> u8 {
    let line = bytes.split(|b| *b == b'\n').next().unwrap_or_default();
    let count = |d: u8| line.iter().filter(|b| **b == d).count();
    // The first of equals: a line of one field has none of them.
    [b',', b';', b'\t'].into_iter().rev().max_by_key(|d| count(*d)).unwrap_or(b',')
}

/// The rows of a file, with the line that each begins at; the first line apart if it is a header: a row without any
/// number.
fn rows(
    bytes: &[u8],
    refuse: &dyn Fn(String) -> Error,
) -> Result<(Option<Vec<String>>, Vec<(u64, Vec<String>)>)> {
    // What some spreadsheets begin a file with.
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .delimiter(delimiter(bytes))
        .comment(Some(b'#'))
        .trim(csv::Trim::All)
        .from_reader(bytes);
    let mut rows = Vec::new();
    for record in reader.records() {
        let record = record.map_err(|e| refuse(format!("is no table of text: {e}")))?;
        let line = record.position().map_or(0, csv::Position::line);
        rows.push((line, record.iter().map(str::to_owned).collect::<Vec<_>>()));
    }
    let named = rows.first().is_some_and(|(_, first)| first.iter().all(|f| f.parse::<f64>().is_err()));
    // A single column of words is labels, not a header, unless numbers follow.
    let alone = rows.first().is_some_and(|(_, first)| first.len() == 1)
        && rows.iter().skip(1).all(|(_, row)| row.iter().all(|f| f.parse::<f64>().is_err()));
    let header = (named && !alone).then(|| rows.remove(0).1);
    if rows.is_empty() {
        return Err(refuse("holds no row".into()));
    }
    Ok((header, rows))
}

/// Reads a table; `labels` is the name of a column, or its number from 1, from the end if it is negative.
///
/// Errors: text that is none, rows of different lengths, a field that is no number, and a column that there is not.
pub(crate) fn read(bytes: &[u8], path: &Path, labels: Option<&str>) -> Result<Table> {
    let refuse = |why: String| Error::data(Site::File(path.display().to_string()), why);
    let (header, rows) = rows(bytes, &refuse)?;
    let width = rows[0].1.len();
    let label = labels.map(|wanted| column(wanted, header.as_deref(), width).map_err(refuse)).transpose()?;
    let mut numbers = Vec::with_capacity(rows.len() * width);
    let mut found = label.map(|_| Vec::with_capacity(rows.len()));
    for (line, row) in &rows {
        for (at, field) in row.iter().enumerate() {
            if let Some(found) = found.as_mut().filter(|_| label == Some(at)) {
                found.push(field.clone());
                continue;
            }
            // Spreadsheets leave out what is missing.
            let number = if field.is_empty() { Ok(f32::NAN) } else { field.parse::<f32>() };
            numbers.push(number.map_err(|_| {
                let name =
                    header.as_ref().and_then(|h| h.get(at)).map_or(String::new(), |n| format!(" (`{n}`)"));
                refuse(format!("line {line}, column {}{name}: `{field}` is no number", at + 1))
                    .help("if the column holds labels, name it: `--labels-column NAME`, or its number")
            })?);
        }
    }
    let columns = width - usize::from(label.is_some());
    let shape = [rows.len(), columns];
    Ok(Table { numbers: Tensor::f32(&shape, numbers), labels: found })
}

/// Where a column stands.
fn column(wanted: &str, header: Option<&[String]>, width: usize) -> std::result::Result<usize, String> {
    if let Some(at) = header.and_then(|h| h.iter().position(|name| name == wanted)) {
        return Ok(at);
    }
    let number = wanted.parse::<i64>().ok().and_then(|n| match n {
        1.. => usize::try_from(n - 1).ok(),
        _ => width.checked_sub(usize::try_from(-n).ok()?),
    });
    match number.filter(|at| *at < width) {
        Some(at) if wanted != "0" => Ok(at),
        _ => Err(match header {
            Some(names) => format!("has no column `{wanted}`; its columns are {}", names.join(", ")),
            None => format!("has no column `{wanted}`: it has {width} without names, counted from 1"),
        }),
    }
}

/// Labels of a file: one a line, words or numbers, or rows of numbers.
pub(crate) fn labels(bytes: &[u8], path: &Path) -> Result<Labels> {
    let refuse = |why: String| Error::data(Site::File(path.display().to_string()), why);
    let (_, all) = rows(bytes, &refuse)?;
    if all[0].1.len() == 1 {
        return Ok(Labels::Words(all.into_iter().flat_map(|(_, row)| row).collect()));
    }
    read(bytes, path, None).map(|table| Labels::Array(table.numbers))
}

/// What a file of labels holds.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Labels {
    /// One a sample.
    Words(Vec<String>),
    Array(Tensor),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(text: &str, labels: Option<&str>) -> Result<Table> {
        read(text.as_bytes(), Path::new("x.csv"), labels)
    }
    #[track_caller]
    fn says(found: Result<Table>, part: &str) {
        let error = found.expect_err("it is refused").to_string();
        assert!(error.contains("x.csv") && error.contains(part), "{error}");
    }

    #[test]
    fn tables_of_every_habit_are_read() {
        let want = Tensor::f32(&[2, 3], vec![1.0, -2.5, 3e2, 4.0, 5.0, 6.0]);
        for text in [
            "1,-2.5,3e2\n4,5,6\n",
            "1;-2.5;3e2\r\n4;5;6",
            "1\t-2.5\t300\n4\t5\t6\n",
            "ax,ay,az\n1,-2.5,3e2\n4,5,6\n",
            "\u{feff}\"ax\",\"ay\",\"az\"\n 1 , -2.5,\"3e2\"\n\n4,5,6\n",
            "# a note\n1,-2.5,3e2\n4,5,6\n",
        ] {
            let found = table(text, None).unwrap_or_else(|e| panic!("{text}: {e}"));
            assert_eq!((found.numbers, found.labels), (want.clone(), None), "{text}");
        }
        let missing = table("1,,3\n4,5,6\n", None).unwrap().numbers.to_f64_vec();
        assert!(missing[1].is_nan() && missing[2] == 3.0);
    }

    #[test]
    fn a_column_of_labels_is_taken_out_by_name_or_number() {
        let text = "x,y,what\n1,2,walk\n3,4,run\n";
        for wanted in ["what", "3", "-1"] {
            let found = table(text, Some(wanted)).unwrap();
            assert_eq!(found.numbers, Tensor::f32(&[2, 2], vec![1.0, 2.0, 3.0, 4.0]));
            assert_eq!(found.labels.unwrap(), ["walk", "run"]);
        }
        assert_eq!(table("0,1,2\n1,3,4\n", Some("1")).unwrap().labels.unwrap(), ["0", "1"]);
        says(table(text, Some("which")), "no column `which`; its columns are x, y, what");
        says(table("1,2\n3,4\n", Some("3")), "no column `3`: it has 2");
        for wanted in ["0", "-3", "99999999999999999999"] {
            says(table("1,2\n3,4\n", Some(wanted)), "no column");
        }
    }

    #[test]
    fn what_is_no_table_of_numbers_is_refused_where_it_stands() {
        says(table("x,y,what\n1,2,walk\n", None), "line 2, column 3 (`what`): `walk` is no number");
        says(table("1,2\n3,zwei\n", None), "line 2, column 2: `zwei` is no number");
        says(table("1,2\n3\n", None), "is no table");
        says(table("", None), "holds no row");
        says(table("a,b\n", None), "holds no row");
        says(read(b"1,2\n\xff,3\n", Path::new("x.csv"), None), "is no table");
    }

    #[test]
    fn labels_are_words_or_rows() {
        let of = |text: &str| labels(text.as_bytes(), Path::new("y.csv")).unwrap();
        let words = |all: &[&str]| Labels::Words(all.iter().map(|w| (*w).to_owned()).collect());
        assert_eq!(of("walk\nrun\nrun\n"), words(&["walk", "run", "run"]));
        assert_eq!(of("label\n1\n0\n"), words(&["1", "0"]));
        assert_eq!(of("2\n0\n"), words(&["2", "0"]));
        assert_eq!(of("1,0\n0,1\n"), Labels::Array(Tensor::f32(&[2, 2], vec![1.0, 0.0, 0.0, 1.0])));
    }
}
