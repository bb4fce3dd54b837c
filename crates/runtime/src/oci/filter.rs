//! Seccomp profiles compiled to the program that the kernel runs.
//!
//! libseccomp takes longer to compile the default profile than the rest of a container's creation
//! takes, and libcontainer would have it done at each. The zygote does it once; shims and their
//! jobs inherit the program by fork. A profile of other capabilities is compiled where it is used.

#![allow(unsafe_code)]

use std::fs::File;
use std::io::{self, Read, Seek};
use std::sync::{Arc, OnceLock};

use libcontainer::oci_spec::runtime::{
    Arch, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompOperator,
};
use libseccomp::error::SeccompError;
use libseccomp::{
    ScmpAction, ScmpArch, ScmpArgCompare, ScmpCompareOp, ScmpFilterContext, ScmpSyscall,
};

use super::{Error, capabilities, failed, seccomp};

/// The size of one instruction in libseccomp's output.
const INSTRUCTION_BYTES: usize = size_of::<libc::sock_filter>();

static DEFAULT: OnceLock<Option<(LinuxSeccomp, Program)>> = OnceLock::new();

/// A compiled profile.
#[derive(Clone)]
pub(super) struct Program(Arc<[libc::sock_filter]>);

/// Compiles the default profile, for this process and all that it will fork. One that can't be
/// compiled fails again, and is told, where it is used.
pub(crate) fn warm_up() {
    let _ = DEFAULT.get_or_init(|| {
        let capabilities = capabilities::of(&Default::default(), false).ok()?;
        let profile = serde_json::from_value(seccomp::profile(&capabilities)).ok()?;
        let program = compile(&profile).ok()?;
        Some((profile, program))
    });
}

impl Program {
    pub(super) fn of(profile: &LinuxSeccomp) -> Result<Self, Error> {
        match DEFAULT.get() {
            Some(Some((known, program))) if known == profile => Ok(program.clone()),
            _ => compile(profile),
        }
    }

    /// Confines the calling thread. Needs CAP_SYS_ADMIN or no_new_privs.
    pub(super) fn load(&self) -> io::Result<()> {
        let program = libc::sock_fprog {
            len: u16::try_from(self.0.len()).map_err(io::Error::other)?,
            filter: self.0.as_ptr().cast_mut(),
        };
        let (mode, flags): (_, libc::c_ulong) = (libc::SECCOMP_SET_MODE_FILTER, 0);
        // SAFETY: the kernel reads `len` instructions behind `filter` during the call, and writes
        // nothing.
        let result = unsafe { libc::syscall(libc::SYS_seccomp, mode, flags, &raw const program) };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }
}

fn compile(profile: &LinuxSeccomp) -> Result<Program, Error> {
    let context = context(profile)?;
    let what = "export a seccomp program";
    let memory = rustix::fs::memfd_create("seccomp", rustix::fs::MemfdFlags::CLOEXEC)
        .map_err(failed(what))?;
    context.export_bpf(&memory).map_err(refused)?;
    let (mut file, mut bytes) = (File::from(memory), Vec::new());
    file.rewind().and_then(|()| file.read_to_end(&mut bytes)).map_err(failed(what))?;
    let instruction = |bytes: &[u8; INSTRUCTION_BYTES]| libc::sock_filter {
        code: u16::from_ne_bytes([bytes[0], bytes[1]]),
        jt: bytes[2],
        jf: bytes[3],
        k: u32::from_ne_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]),
    };
    Ok(Program(bytes.as_chunks::<INSTRUCTION_BYTES>().0.iter().map(instruction).collect()))
}

fn refused(error: SeccompError) -> Error {
    Error::Runtime(format!("seccomp: {error}"))
}

fn context(profile: &LinuxSeccomp) -> Result<ScmpFilterContext, Error> {
    let default = action(profile.default_action(), profile.default_errno_ret())?;
    let mut context = ScmpFilterContext::new(default).map_err(refused)?;
    // Whether new privileges may be gained is the container's configuration, not the filter's.
    context.set_ctl_nnp(false).map_err(refused)?;
    for arch in profile.architectures().iter().flatten() {
        context.add_arch(architecture(*arch)?).map_err(refused)?;
    }
    for rule in profile.syscalls().iter().flatten() {
        let verdict = action(rule.action(), rule.errno_ret())?;
        let conditions: Vec<ScmpArgCompare> =
            rule.args().iter().flatten().map(condition).collect::<Result<_, _>>()?;
        for name in rule.names() {
            // A call that this libseccomp doesn't know gets the default's refusal.
            let Ok(call) = ScmpSyscall::from_name(name) else { continue };
            context.add_rule_conditional(verdict, call, &conditions).map_err(refused)?;
        }
    }
    Ok(context)
}

fn unknown(what: &'static str, name: impl std::fmt::Debug) -> Error {
    Error::Unknown { what, name: format!("{name:?}") }
}

fn action(action: LinuxSeccompAction, errno: Option<u32>) -> Result<ScmpAction, Error> {
    match action {
        LinuxSeccompAction::ScmpActAllow => Ok(ScmpAction::Allow),
        LinuxSeccompAction::ScmpActErrno => {
            let errno = errno.and_then(|errno| i32::try_from(errno).ok()).unwrap_or(libc::EPERM);
            Ok(ScmpAction::Errno(errno))
        }
        other => Err(unknown("seccomp action", other)),
    }
}

fn architecture(arch: Arch) -> Result<ScmpArch, Error> {
    match arch {
        Arch::ScmpArchX86_64 => Ok(ScmpArch::X8664),
        Arch::ScmpArchX86 => Ok(ScmpArch::X86),
        Arch::ScmpArchX32 => Ok(ScmpArch::X32),
        Arch::ScmpArchAarch64 => Ok(ScmpArch::Aarch64),
        Arch::ScmpArchArm => Ok(ScmpArch::Arm),
        other => Err(unknown("seccomp architecture", other)),
    }
}

/// In a masked comparison the OCI's `value` is the mask and `valueTwo` what is compared with.
/// libcontainer 0.7 has it the other way round, by which `clone` would be allowed any flags.
fn condition(argument: &LinuxSeccompArg) -> Result<ScmpArgCompare, Error> {
    let index = u32::try_from(argument.index())
        .map_err(|_| unknown("seccomp argument", argument.index()))?;
    let (value, two) = (argument.value(), argument.value_two().unwrap_or(0));
    let (operator, datum) = match argument.op() {
        LinuxSeccompOperator::ScmpCmpEq => (ScmpCompareOp::Equal, value),
        LinuxSeccompOperator::ScmpCmpNe => (ScmpCompareOp::NotEqual, value),
        LinuxSeccompOperator::ScmpCmpMaskedEq => (ScmpCompareOp::MaskedEqual(value), two),
        other => return Err(unknown("seccomp operator", other)),
    };
    Ok(ScmpArgCompare::new(index, operator, datum))
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::wait::{WaitStatus, waitpid};
    use nix::unistd::{ForkResult, fork};

    /// What a child that is confined by the default profile ends with.
    fn confined(work: fn() -> i32) -> WaitStatus {
        warm_up();
        let program = DEFAULT.get().unwrap().as_ref().unwrap().1.clone();
        // SAFETY: the child makes system calls alone.
        match unsafe { fork() }.unwrap() {
            ForkResult::Parent { child } => waitpid(child, None).unwrap(),
            ForkResult::Child => {
                let code = if program.load().is_ok() { work() } else { 99 };
                // SAFETY: ends the child at once.
                unsafe { libc::_exit(code) }
            }
        }
    }

    fn clone_with(flags: i32) -> i32 {
        let flags = libc::c_long::from(flags | libc::SIGCHLD);
        let none = std::ptr::null::<u8>();
        // SAFETY: like fork: the child goes on with a copy of everything, and ends at once.
        let pid = unsafe { libc::syscall(libc::SYS_clone, flags, none, none, none, none) };
        match pid {
            // SAFETY: ends the child.
            0 => unsafe { libc::_exit(0) },
            -1 => io::Error::last_os_error().raw_os_error().unwrap_or(98),
            _ => 0,
        }
    }

    #[test]
    fn a_confined_process_forks_but_makes_no_namespaces() {
        let ended = |code| WaitStatus::Exited(nix::unistd::Pid::from_raw(0), code);
        let code = |status: WaitStatus| match status {
            WaitStatus::Exited(_, code) => ended(code),
            other => other,
        };
        assert_eq!(code(confined(|| clone_with(0))), ended(0));
        assert_eq!(code(confined(|| clone_with(libc::CLONE_NEWUSER))), ended(libc::EPERM));
        assert_eq!(code(confined(|| clone_with(libc::CLONE_NEWNET))), ended(libc::EPERM));
    }
}
