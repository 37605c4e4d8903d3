//! What a board's crates bring otherwise: the start of the processor, and a console. Here the console is that of the
//! host, by semihosting.

use core::fmt::{Result, Write};

core::arch::global_asm!(include_str!("start.s"), options(raw));

unsafe extern "C" {
    /// A request to the host: an operation and its arguments, as Arm's document "Semihosting for AArch32 and AArch64"
    /// numbers them.
    fn semihost(operation: usize, arguments: *const usize) -> usize;
}

const SYS_OPEN: usize = 0x01;
const SYS_WRITE: usize = 0x05;
const SYS_EXIT_EXTENDED: usize = 0x20;
const ADP_STOPPED_APPLICATION_EXIT: usize = 0x20026;
/// `fopen` with "w".
const WRITE: usize = 4;

fn call(operation: usize, arguments: [usize; 3]) -> usize {
    // SAFETY: the operations above read at most three words, and what these point to lives until they return.
    unsafe { semihost(operation, arguments.as_ptr()) }
}

/// The host's standard output.
struct Console {
    file: usize,
}

impl Console {
    fn open() -> Console {
        let name = c":tt";
        Console { file: call(SYS_OPEN, [name.as_ptr() as usize, WRITE, name.count_bytes()]) }
    }
}

impl Write for Console {
    fn write_str(&mut self, text: &str) -> Result {
        match call(SYS_WRITE, [self.file, text.as_ptr() as usize, text.len()]) {
            0 => Ok(()),
            _ => Err(core::fmt::Error),
        }
    }
}

fn exit(code: usize) -> ! {
    loop {
        call(SYS_EXIT_EXTENDED, [ADP_STOPPED_APPLICATION_EXIT, code, 0]);
    }
}

/// Called once memory is ready.
#[unsafe(no_mangle)]
extern "C" fn firmware() -> ! {
    let written = super::answer(&mut Console::open());
    exit(usize::from(written.is_err()))
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    exit(101)
}
