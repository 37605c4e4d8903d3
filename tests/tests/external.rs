//! Models whose tensors lie in files beside them: read from below the model's folder only, checked
//! against the file, and the same model as one in one piece.

use secateur_compiler::error::{Error, Result, Site};
use secateur_compiler::onnx::{embed, import};
use std::collections::BTreeMap;

const DATA: &str = "external_weights.onnx.data";

fn file(name: &str) -> Vec<u8> {
    let path = secateur_tests::repository().join("tests/field").join(name);
    std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// The model with `from` replaced by `to`, which is as long, wherever it stands.
fn model(from: &str, to: &str) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let mut bytes = file("external_weights.onnx");
    let mut at = 0;
    let mut found = false;
    while at + from.len() <= bytes.len() {
        if bytes[at..].starts_with(from.as_bytes()) {
            bytes[at..at + from.len()].copy_from_slice(to.as_bytes());
            found = true;
        }
        at += 1;
    }
    assert!(found, "`{from}` is not in the model");
    bytes
}

/// The refusal of a model, whose data may not even be asked for.
#[track_caller]
fn refused(bytes: &[u8], says: &str) {
    let never = &mut |name: &str| -> Result<Vec<u8>> { panic!("`{name}` is read") };
    let error = embed(bytes, never).expect_err("the model is refused").to_string();
    assert!(error.contains("tensor `w`") && error.contains(says) && error.contains("help:"), "{error}");
}

#[test]
fn data_beside_the_model_join_it() {
    let mut asked = Vec::new();
    let bytes = file("external_weights.onnx");
    let whole = embed(&bytes, &mut |name| {
        asked.push(name.to_string());
        Ok(file(name))
    })
    .unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(asked, [DATA], "each file is read once");
    let graph = import(&whole, &BTreeMap::new()).unwrap_or_else(|e| panic!("{e}"));
    let (_, w) = graph.values().find(|(_, v)| v.name == "w").expect("the weights");
    let data = file(DATA);
    assert_eq!(w.constant().map(|t| t.data().to_le_bytes()).as_deref(), Some(&data[..8192]));
    // In one piece there is nothing left to read, and nothing changes.
    let never = &mut |name: &str| -> Result<Vec<u8>> { panic!("`{name}` is read") };
    assert!(embed(&whole, never).is_ok_and(|again| again == whole));
    // Without its data the model is refused with a way out.
    for bytes in [bytes, model("location", "locatiom")] {
        let error = import(&bytes, &BTreeMap::new()).expect_err("the data are missing").to_string();
        assert!(error.contains("tensor `w`") && error.contains("onnx.save"), "{error}");
    }
}

#[test]
fn names_that_leave_the_folder_are_refused() {
    refused(&model(DATA, &format!("../{}", &DATA[3..])), "leaves the model's folder");
    refused(&model(DATA, &format!("a/../{}", &DATA[5..])), "leaves the model's folder");
    refused(&model(DATA, &format!("/{}", &DATA[1..])), "no relative path");
    refused(&model(DATA, &format!("C:{}", &DATA[2..])), "no relative path");
    refused(&model(DATA, &format!("..\\{}", &DATA[3..])), "no relative path");
    refused(&model(DATA, &".".repeat(DATA.len()).replace("..", "./")), "a folder");
}

#[test]
fn ranges_that_do_not_fit_are_refused() {
    let says = |bytes: &[u8], data: &[u8], part: &str| {
        let error = embed(bytes, &mut |_| Ok(data.to_vec())).expect_err("the range is wrong").to_string();
        assert!(error.contains("tensor `") && error.contains(part), "{error}");
    };
    let (bytes, data) = (file("external_weights.onnx"), file(DATA));
    for end in [0, 1, 8191, 8192, data.len() - 1] {
        says(&bytes, &data[..end], "truncated");
    }
    says(&model("8192", "8191"), &data, "needs 8192 bytes");
    says(&model("8192", "-192"), &data, "no number");
    says(&model("8192", "9999"), &data, "holds 9999");
    let missing = |_: &str| Err(Error::data(Site::Whole, "there is none"));
    assert!(embed(&bytes, &mut { missing }).is_err());
}
