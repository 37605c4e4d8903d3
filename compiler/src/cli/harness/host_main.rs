//! The harness as a program of the host: two files named on the command line.

mod models;
mod serve;

/// How the harness reaches its files.
mod port {
    use std::fs::File;
    use std::io::{BufReader, BufWriter, Read, Write};
    use std::sync::{Mutex, OnceLock};

    static FILES: OnceLock<Mutex<(BufReader<File>, BufWriter<File>)>> = OnceLock::new();

    pub fn open(requests: &str, replies: &str) -> std::io::Result<()> {
        let files = (BufReader::new(File::open(requests)?), BufWriter::new(File::create(replies)?));
        let _ = FILES.set(Mutex::new(files));
        Ok(())
    }
    pub fn flush() -> bool {
        FILES.get().and_then(|f| f.lock().ok()).is_some_and(|mut f| f.1.flush().is_ok())
    }
    pub fn read(to: *mut u8, bytes: u32) -> bool {
        // SAFETY: the harness names `bytes` writable bytes.
        let to = unsafe { std::slice::from_raw_parts_mut(to, bytes as usize) };
        FILES.get().and_then(|f| f.lock().ok()).is_some_and(|mut f| f.0.read_exact(to).is_ok())
    }
    pub fn write(from: *const u8, bytes: u32) -> bool {
        // SAFETY: the harness names `bytes` readable bytes.
        let from = unsafe { std::slice::from_raw_parts(from, bytes as usize) };
        FILES.get().and_then(|f| f.lock().ok()).is_some_and(|mut f| f.1.write_all(from).is_ok())
    }
    pub fn run_guarded(run: extern "C" fn() -> u32) -> u32 {
        run()
    }
    /// The host's stack is not painted.
    pub fn paint_stack() -> usize {
        0
    }
    pub fn painted_stack(_from: usize) -> u32 {
        0
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, requests, replies] = arguments.as_slice() else { std::process::exit(2) };
    if port::open(requests, replies).is_err() {
        std::process::exit(3);
    }
    let result = serve::serve();
    std::process::exit(if port::flush() { result as i32 } else { 4 });
}
