//! What the runtime's handle and a shim say to each other.
//!
//! Frames of a little-endian `u32` length and that many bytes of JSON over a unix stream socket in
//! the sandbox's directory. Every request carries a number that its response repeats; events come
//! in between. Unknown members are ignored and new ones have defaults, so that a newer agent can
//! talk to a shim that was forked by an older one: the shim of a running task is never replaced.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::spec::{ContainerSpec, ExecSpec, MacAddress, PortMapping, SandboxSpec};
use crate::state::{ContainerEvent, ContainerInfo, SandboxInfo};

/// The largest frame: a container's specification with its environment fits many times over.
pub const MAX_FRAME_BYTES: usize = 4 << 20;

/// What a shim is forked with; lies in the sandbox's directory as `shim.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ShimConfig {
    /// The task.
    pub sandbox: SandboxSpec,
    /// Which wharf of this host.
    pub instance: String,
    /// The OCI runtime's program and global arguments; `None` is the embedded one.
    pub oci_runtime: Option<OciProgram>,
    /// Where the OCI runtime keeps its state, on tmpfs.
    pub run_dir: PathBuf,
    /// Where logs go: `<container>.log`.
    pub log_dir: PathBuf,
    /// The task's cgroup below each hierarchy's mount: `/wharf-<instance>/<task>`.
    pub cgroup: String,
    /// The bridge of network mode bridge.
    pub bridge: String,
    /// The bridge of network mode awsvpc.
    pub vpc_bridge: String,
    /// The host interface's name of an awsvpc task.
    pub task_veth: String,
    /// The range that dynamic host ports are taken from.
    pub dynamic_ports: (u16, u16),
}

/// An OCI runtime on the command line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OciProgram {
    /// The program.
    pub path: PathBuf,
    /// Arguments before the subcommand.
    pub args: Vec<String>,
}

/// How one container of network mode bridge is connected.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct BridgePort {
    /// Its address.
    pub address: Ipv4Addr,
    /// The bridge network's prefix length.
    pub prefix: u8,
    /// The bridge's own address.
    pub gateway: Ipv4Addr,
    /// Its Ethernet address.
    pub mac: MacAddress,
    /// The host interface's name.
    pub veth: String,
}

/// A container to make.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CreateContainer {
    /// What was asked for.
    pub spec: ContainerSpec,
    /// Its runtime id.
    pub runtime_id: String,
    /// Its interface in network mode bridge.
    pub bridge_port: Option<BridgePort>,
}

/// What the handle asks a shim.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Request {
    /// Describe the sandbox; events flow from here on.
    Hello,
    /// Make a container.
    Create(Box<CreateContainer>),
    /// Start it.
    Start {
        /// The container's name.
        name: String,
    },
    /// Make a container that has ended startable again, with its files, addresses and ports.
    Renew {
        /// The container's name.
        name: String,
    },
    /// Send a signal to its first process.
    Signal {
        /// The container's name.
        name: String,
        /// The signal's number.
        signal: i32,
    },
    /// Remove it, killing it if it runs.
    Delete {
        /// The container's name.
        name: String,
    },
    /// Run a further process in it.
    Exec {
        /// The container's name.
        name: String,
        /// The process.
        spec: ExecSpec,
    },
    /// Kill an `Exec` that is under way.
    KillExec {
        /// The number of the `Exec` request.
        request: u64,
    },
    /// Remove every container, the network and the cgroup; then exit.
    Shutdown,
}

/// A request with its number.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Numbered {
    /// Chosen by the sender, repeated in the response.
    pub number: u64,
    /// The request.
    pub request: Request,
}

/// What a shim answers.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Response {
    /// To `Hello`.
    Sandbox(SandboxInfo),
    /// To `Create`, `Renew` and `Start`.
    Container(ContainerInfo),
    /// To `Exec`.
    Exec {
        /// Exit code, or 128 + the signal.
        code: i32,
        /// The first bytes of its output.
        output: Vec<u8>,
    },
    /// To everything else.
    Done,
    /// It went wrong.
    Error(Failure),
}

/// Why a request failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Failure {
    /// There is no such container.
    NoContainer,
    /// A host port is taken.
    PortTaken(PortMapping),
    /// Anything else: what failed on what.
    Other(String),
}

/// What comes from a shim.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum FromShim {
    /// The answer to a request.
    Response {
        /// The request's number.
        number: u64,
        /// The answer.
        response: Response,
    },
    /// Something happened.
    Event(ContainerEvent),
}

/// Puts a message into a frame.
pub fn encode(message: &impl Serialize) -> Result<Vec<u8>, serde_json::Error> {
    let mut frame = vec![0; 4];
    serde_json::to_writer(&mut frame, message)?;
    let length = u32::try_from(frame.len() - 4).unwrap_or(u32::MAX);
    frame[..4].copy_from_slice(&length.to_le_bytes());
    Ok(frame)
}

/// Takes the first whole frame's JSON out of `buffer`; an oversized frame is an error.
pub fn take_frame(buffer: &mut Vec<u8>) -> Result<Option<Vec<u8>>, usize> {
    let Some(head) = buffer.first_chunk::<4>() else { return Ok(None) };
    let length = u32::from_le_bytes(*head) as usize;
    if length > MAX_FRAME_BYTES {
        return Err(length);
    }
    if buffer.len() < 4 + length {
        return Ok(None);
    }
    let rest = buffer.split_off(4 + length);
    let mut frame = std::mem::replace(buffer, rest);
    frame.drain(..4);
    Ok(Some(frame))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_out_as_they_went_in_however_they_are_cut() {
        let message = Numbered { number: 7, request: Request::Hello };
        let bytes = [encode(&message).unwrap(), encode(&message).unwrap()].concat();
        let mut buffer = Vec::new();
        let mut seen = 0;
        for byte in bytes {
            buffer.push(byte);
            if let Some(frame) = take_frame(&mut buffer).unwrap() {
                let back: Numbered = serde_json::from_slice(&frame).unwrap();
                assert_eq!(back.number, 7);
                seen += 1;
            }
        }
        assert_eq!((seen, buffer.len()), (2, 0));
    }

    #[test]
    fn an_oversized_frame_is_refused_before_it_is_read() {
        let mut buffer = u32::MAX.to_le_bytes().to_vec();
        assert_eq!(take_frame(&mut buffer), Err(u32::MAX as usize));
    }
}
