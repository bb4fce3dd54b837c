//! For tests: lets the test program itself serve as zygote.
//!
//! A test's `main` is libtest's, which can't call [`crate::run_if_zygote`]. This puts the hook
//! before any `main`, into every program that links the crate with the feature `test-support`.

#![allow(unsafe_code)]

use std::ffi::{CStr, c_char, c_int};

use crate::zygote::{self, Zygote};

/// The running test program as a zygote.
pub fn zygote() -> Zygote {
    Zygote::this_program()
}

#[used]
// SAFETY: the C library calls the functions of this section with main's arguments before main.
#[unsafe(link_section = ".init_array")]
static BEFORE_MAIN: extern "C" fn(c_int, *const *const c_char) = before_main;

extern "C" fn before_main(count: c_int, arguments: *const *const c_char) {
    if count != 2 || arguments.is_null() {
        return;
    }
    // SAFETY: main's arguments are `count` C strings.
    let argument = unsafe { CStr::from_ptr(*arguments.add(1)) };
    if argument.to_bytes() == zygote::ARGUMENT.as_bytes() {
        zygote::serve();
    }
}
