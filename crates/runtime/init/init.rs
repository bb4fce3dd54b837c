//! The init of containers with `initProcessEnabled`, and the first process of what the containers
//! of a task share: a program without a library, so that it runs in any image.
//!
//! `init -- COMMAND …` runs the command, reaps whatever the kernel hands to it, passes signals on
//! to the command and ends as the command ends. `init` alone reaps for ever.

#![no_std]
#![no_main]
#![no_builtins]

use core::arch::{asm, naked_asm};

#[cfg(target_arch = "x86_64")]
mod number {
    pub const WRITE: usize = 1;
    pub const SIGPROCMASK: usize = 14;
    pub const IOCTL: usize = 16;
    pub const GETPID: usize = 39;
    pub const CLONE: usize = 56;
    pub const EXECVE: usize = 59;
    pub const WAIT4: usize = 61;
    pub const KILL: usize = 62;
    pub const SETPGID: usize = 109;
    pub const SIGTIMEDWAIT: usize = 128;
    pub const PRCTL: usize = 157;
    pub const EXIT: usize = 231;
}

#[cfg(target_arch = "aarch64")]
mod number {
    pub const IOCTL: usize = 29;
    pub const WRITE: usize = 64;
    pub const EXIT: usize = 94;
    pub const KILL: usize = 129;
    pub const SIGPROCMASK: usize = 135;
    pub const SIGTIMEDWAIT: usize = 137;
    pub const SETPGID: usize = 154;
    pub const PRCTL: usize = 167;
    pub const GETPID: usize = 172;
    pub const CLONE: usize = 220;
    pub const EXECVE: usize = 221;
    pub const WAIT4: usize = 260;
}

const SIGCHLD: isize = 17;
const SIG_SETMASK: usize = 2;
const SIGNAL_SET_BYTES: usize = 8;
const WNOHANG: usize = 1;
const TIOCSPGRP: usize = 0x5410;
const PR_SET_CHILD_SUBREAPER: usize = 36;
const ENOENT: isize = -2;
const EACCES: isize = -13;
const ENOTDIR: isize = -20;
/// The signals of faults: blocking them would hide this program's own.
const FAULTS: u64 = bit(4) | bit(5) | bit(6) | bit(7) | bit(8) | bit(11) | bit(31);
/// The longest path that is tried.
const MAX_PATH: usize = 4096;
/// Where programs are looked for when the environment doesn't say.
const DEFAULT_PATH: &[u8] = b"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\0";

type Text = *const u8;

const fn bit(signal: u32) -> u64 {
    1 << (signal - 1)
}

#[cfg(target_arch = "x86_64")]
fn call(number: usize, [a, b, c, d, e]: [usize; 5]) -> isize {
    let result: isize;
    // SAFETY: the kernel touches no more than what the arguments point to.
    unsafe {
        asm!("syscall", inlateout("rax") number => result, in("rdi") a, in("rsi") b, in("rdx") c,
            in("r10") d, in("r8") e, lateout("rcx") _, lateout("r11") _, options(nostack));
    }
    result
}

#[cfg(target_arch = "aarch64")]
fn call(number: usize, [a, b, c, d, e]: [usize; 5]) -> isize {
    let result: isize;
    // SAFETY: the kernel touches no more than what the arguments point to.
    unsafe {
        asm!("svc 0", in("x8") number, inlateout("x0") a => result, in("x1") b, in("x2") c,
            in("x3") d, in("x4") e, options(nostack));
    }
    result
}

/// The entry point: hands the initial stack over.
#[cfg(target_arch = "x86_64")]
#[unsafe(naked)]
#[unsafe(no_mangle)]
extern "C" fn _start() -> ! {
    naked_asm!("xor ebp, ebp", "mov rdi, rsp", "and rsp, -16", "call {}", "ud2", sym main)
}

/// The entry point: hands the initial stack over.
#[cfg(target_arch = "aarch64")]
#[unsafe(naked)]
#[unsafe(no_mangle)]
extern "C" fn _start() -> ! {
    naked_asm!("mov x29, #0", "mov x30, #0", "mov x0, sp", "b {}", sym main)
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    exit(255)
}

fn exit(code: usize) -> ! {
    loop {
        call(number::EXIT, [code, 0, 0, 0, 0]);
    }
}

/// `stack` is what the kernel lays out: the count, the arguments, null, the environment, null.
extern "C" fn main(stack: *const usize) -> ! {
    // SAFETY: laid out by the kernel; every read stays before its closing null.
    let (mut command, environment) = unsafe {
        let count = *stack;
        let arguments = stack.add(1).cast::<Text>();
        let environment = arguments.add(count + 1);
        (if count == 0 { arguments } else { arguments.add(1) }, environment)
    };
    // SAFETY: as above; the list ends with a null.
    unsafe {
        if !(*command).is_null() && equal(*command, b"--\0") {
            command = command.add(1);
        }
    }
    call(number::PRCTL, [PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0]);
    let blocked = !FAULTS;
    let mut before = 0u64;
    mask(&blocked, &mut before);
    // SAFETY: the list ends with a null.
    let child = if unsafe { (*command).is_null() } {
        0
    } else {
        match call(number::CLONE, [SIGCHLD as usize, 0, 0, 0, 0]) {
            0 => run(command, environment, &before),
            pid if pid < 0 => exit(255),
            pid => pid,
        }
    };
    serve(child, &blocked)
}

fn mask(set: &u64, before: &mut u64) {
    let pointers = [set as *const u64 as usize, before as *mut u64 as usize];
    let arguments = [SIG_SETMASK, pointers[0], pointers[1], SIGNAL_SET_BYTES, 0];
    call(number::SIGPROCMASK, arguments);
}

/// Waits for signals for ever; ends with the child, if there is one.
fn serve(child: isize, blocked: &u64) -> ! {
    loop {
        let set = blocked as *const u64 as usize;
        let signal = call(number::SIGTIMEDWAIT, [set, 0, 0, SIGNAL_SET_BYTES, 0]);
        if signal == SIGCHLD {
            reap(child);
        } else if signal > 0 && child > 0 {
            call(number::KILL, [child as usize, signal as usize, 0, 0, 0]);
        }
    }
}

fn reap(child: isize) {
    loop {
        let mut status = 0i32;
        let into = &mut status as *mut i32 as usize;
        let pid = call(number::WAIT4, [usize::MAX, into, WNOHANG, 0, 0]);
        if pid <= 0 {
            return;
        }
        if pid == child {
            let signal = status & 0x7f;
            exit(if signal == 0 { (status >> 8 & 0xff) as usize } else { 128 + signal as usize });
        }
    }
}

/// In the child: a process group of its own, in front of the terminal if there is one.
fn run(command: *const Text, environment: *const Text, signals: &u64) -> ! {
    call(number::SETPGID, [0, 0, 0, 0, 0]);
    let group = call(number::GETPID, [0; 5]) as i32;
    // The signal that this would raise in the background is blocked still.
    call(number::IOCTL, [0, TIOCSPGRP, &group as *const i32 as usize, 0, 0]);
    mask(signals, &mut 0);
    // SAFETY: both lists end with a null.
    let error = unsafe { search(*command, command, environment) };
    complain(b"exec: ");
    // SAFETY: an argument ends with a null byte.
    unsafe { complain(core::slice::from_raw_parts(*command, length(*command))) };
    complain(if error == EACCES { b": permission denied\n" } else { b": not found\n" });
    exit(if error == ENOENT || error == ENOTDIR { 127 } else { 126 })
}

fn complain(text: &[u8]) {
    call(number::WRITE, [2, text.as_ptr() as usize, text.len(), 0, 0]);
}

/// As execvp: a name without a slash is looked for along PATH.
unsafe fn search(name: Text, command: *const Text, environment: *const Text) -> isize {
    let execute = |path: Text| {
        call(number::EXECVE, [path as usize, command as usize, environment as usize, 0, 0])
    };
    // SAFETY: texts end with a null byte, lists with a null.
    unsafe {
        let size = length(name);
        if (0..size).any(|at| *name.add(at) == b'/') {
            return execute(name);
        }
        let mut directory = path_of(environment);
        let mut result = ENOENT;
        let mut buffer = [0u8; MAX_PATH];
        loop {
            let mut end = 0;
            while !matches!(*directory.add(end), 0 | b':') {
                end += 1;
            }
            if end + size + 2 <= MAX_PATH {
                put(&mut buffer, 0, directory, end);
                put(&mut buffer, end, b"/".as_ptr(), 1);
                put(&mut buffer, end + 1, name, size + 1);
                // Nothing in front of the slash is the working directory.
                let from = if end == 0 { 1 } else { 0 };
                match execute(buffer.as_ptr().add(from)) {
                    ENOENT | ENOTDIR => {}
                    error => result = error,
                }
            }
            if *directory.add(end) == 0 {
                return result;
            }
            directory = directory.add(end + 1);
        }
    }
}

/// The environment's PATH.
unsafe fn path_of(mut environment: *const Text) -> Text {
    // SAFETY: the list ends with a null, its texts with null bytes.
    unsafe {
        while !(*environment).is_null() {
            let variable = *environment;
            if (0..5).all(|at| *variable.add(at) == b"PATH="[at]) {
                return variable.add(5);
            }
            environment = environment.add(1);
        }
    }
    DEFAULT_PATH.as_ptr()
}

unsafe fn put(buffer: &mut [u8; MAX_PATH], at: usize, text: Text, size: usize) {
    let mut done = 0;
    while done < size && at + done < MAX_PATH {
        // SAFETY: the caller says how long the text is.
        buffer[at + done] = unsafe { *text.add(done) };
        done += 1;
    }
}

unsafe fn length(text: Text) -> usize {
    let mut size = 0;
    // SAFETY: a text ends with a null byte.
    while unsafe { *text.add(size) } != 0 {
        size += 1;
    }
    size
}

unsafe fn equal(text: Text, other: &[u8]) -> bool {
    // SAFETY: `other` ends with a null byte, so that the first difference comes before the end.
    (0..other.len()).all(|at| unsafe { *text.add(at) } == other[at])
}

/// What the compiler makes of clearing an array.
///
/// # Safety
/// As C's.
#[unsafe(no_mangle)]
unsafe extern "C" fn memset(to: *mut u8, value: i32, size: usize) -> *mut u8 {
    for at in 0..size {
        // SAFETY: the caller's.
        unsafe { to.add(at).write_volatile(value as u8) };
    }
    to
}
