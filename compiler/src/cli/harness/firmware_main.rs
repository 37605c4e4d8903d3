//! The harness as firmware: files of the host, reached by semihosting.
#![no_std]
#![no_main]

mod models;
mod serve;

core::arch::global_asm!(include_str!("start.s"), options(raw));

/// How the harness reaches its files.
mod port {
    use core::sync::atomic::{AtomicU32, Ordering::Relaxed};

    unsafe extern "C" {
        fn semihost(operation: u32, arguments: *mut u32) -> u32;
        #[link_name = "paint_stack"]
        safe fn paint() -> usize;
        #[link_name = "painted_stack"]
        safe fn painted(from: usize) -> u32;
        #[link_name = "run_guarded"]
        safe fn guarded(run: extern "C" fn() -> u32) -> u32;
    }

    const SYS_OPEN: u32 = 1;
    const SYS_CLOSE: u32 = 2;
    const SYS_WRITE: u32 = 5;
    const SYS_READ: u32 = 6;
    const SYS_WRITEC: u32 = 3;
    const SYS_EXIT_EXTENDED: u32 = 0x20;
    const ADP_STOPPED_APPLICATION_EXIT: u32 = 0x20026;
    const READ_BINARY: u32 = 1;
    const WRITE_BINARY: u32 = 5;

    static REQUESTS: AtomicU32 = AtomicU32::new(0);
    static REPLIES: AtomicU32 = AtomicU32::new(0);

    fn call(operation: u32, mut block: [u32; 3]) -> u32 {
        // SAFETY: every operation used here reads at most three words.
        unsafe { semihost(operation, block.as_mut_ptr()) }
    }
    fn file_open(name: &core::ffi::CStr, mode: u32) -> u32 {
        call(SYS_OPEN, [name.as_ptr() as u32, mode, name.count_bytes() as u32])
    }
    pub fn open() -> bool {
        let requests = file_open(c"requests", READ_BINARY);
        let replies = file_open(c"replies", WRITE_BINARY);
        REQUESTS.store(requests, Relaxed);
        REPLIES.store(replies, Relaxed);
        requests != u32::MAX && replies != u32::MAX
    }
    pub fn close() {
        call(SYS_CLOSE, [REPLIES.load(Relaxed), 0, 0]);
    }
    /// Both give the number of bytes that were not moved.
    pub fn read(to: *mut u8, bytes: u32) -> bool {
        bytes == 0 || call(SYS_READ, [REQUESTS.load(Relaxed), to as u32, bytes]) == 0
    }
    pub fn write(from: *const u8, bytes: u32) -> bool {
        bytes == 0 || call(SYS_WRITE, [REPLIES.load(Relaxed), from as u32, bytes]) == 0
    }
    /// Says why, and ends with exit code 98.
    pub fn stop(why: &str) -> ! {
        for byte in why.bytes() {
            call(SYS_WRITEC, [u32::from(byte), 0, 0]);
        }
        loop {
            call(SYS_EXIT_EXTENDED, [ADP_STOPPED_APPLICATION_EXIT, 98, 0]);
        }
    }
    /// What `run` gives; all ones where it changed a register that it had to keep.
    pub fn run_guarded(run: extern "C" fn() -> u32) -> u32 {
        guarded(run)
    }
    pub fn paint_stack() -> usize {
        paint()
    }
    pub fn painted_stack(from: usize) -> u32 {
        painted(from)
    }
}

#[unsafe(no_mangle)]
extern "C" fn firmware_main() -> u32 {
    if !port::open() {
        return 3;
    }
    let result = serve::serve();
    port::close();
    result
}

/// Never linked into a release, if the model keeps its word: a debug build's failed check ends here.
#[panic_handler]
fn panic(info: &core::panic::PanicInfo) -> ! {
    // A message with numbers in it would bring their formatting along.
    port::stop(info.message().as_str().unwrap_or("the firmware panicked"))
}
