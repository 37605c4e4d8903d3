#[secateur::model("models/watch.onnx", quantize = "none", arena = "shared")]
struct Net;

fn main() {
    let mut arena = secateur::Arena::<100>::new();
    Net::new().on(&mut arena).run_in_place();
}
