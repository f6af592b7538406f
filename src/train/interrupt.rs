//! Ctrl-C: the first asks for a clean end, the second ends at once.

use std::sync::atomic::{AtomicBool, Ordering};

static REQUESTED: AtomicBool = AtomicBool::new(false);

/// The flag that Ctrl-C sets, for code that takes one.
pub fn flag() -> &'static AtomicBool {
    &REQUESTED
}

/// Whether Ctrl-C was pressed since [`install`].
pub fn requested() -> bool {
    REQUESTED.load(Ordering::Relaxed)
}

/// Installs the handler; programs call it once, libraries never. The second Ctrl-C exits with code 130.
pub fn install() {
    let handler = || {
        if REQUESTED.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
        eprintln!("\ninterrupted: finishing what is under way (again to stop at once)");
    };
    if let Err(e) = ctrlc::set_handler(handler) {
        eprintln!("radiograd: Ctrl-C cannot be caught ({e}); it will stop the program without a report");
    }
}
