//! Networks of tasks: who reaches whom, and who must not.

#![allow(clippy::unwrap_used)]

mod harness;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use harness::{Host, log_text, oci_runtimes, until};
use wharf_runtime::net::bridge::mac_of_address;
use wharf_runtime::net::nft::TaskEndpoints;
use wharf_runtime::spec::{Eni, PortMapping, Protocol};
use wharf_runtime::{ContainerSpec, NetworkMode, SandboxId};

/// A server that answers every TCP connection to its port 80 with its name.
fn server(host: &Host, name: &str) -> ContainerSpec {
    let script = format!("mkdir -p /www; echo {name} >/www/index.html; httpd -f -p 80 -h /www");
    host.shell(name, &script)
}

async fn run(host: &Host, task: &SandboxId, spec: ContainerSpec) -> wharf_runtime::ContainerInfo {
    let name = spec.name.clone();
    let info = host.runtime.create_container(task, spec).await.unwrap();
    host.runtime.start_container(task, &name).await.unwrap();
    info
}

/// A command that fetches from an address (busybox's wget crashes when it is linked statically).
fn fetch(address: impl std::fmt::Display, port: u16) -> String {
    format!("printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc -w 5 {address} {port} | tail -n 1; ")
}

/// Runs a shell script to its end and answers what it wrote.
async fn ask(host: &Host, task: &SandboxId, name: &str, script: &str) -> String {
    run(host, task, host.shell(name, script)).await;
    host.runtime.wait_container(task, name).await.unwrap();
    let text = log_text(host, task, name);
    host.runtime.delete_container(task, name).await.unwrap();
    text
}

fn get(address: SocketAddr) -> Option<String> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(2)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(2))).ok()?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    Some(text)
}

async fn serves(address: impl Into<SocketAddr>, name: &str) {
    let address = address.into();
    until(&format!("{name} at {address}"), async || {
        tokio::task::spawn_blocking(move || get(address))
            .await
            .unwrap()
            .filter(|t| t.contains(name))
    })
    .await;
}

fn own_address() -> Ipv4Addr {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    socket.connect("192.0.2.1:9").unwrap();
    match socket.local_addr().unwrap().ip() {
        std::net::IpAddr::V4(address) => address,
        other => panic!("{other}"),
    }
}

fn tcp(container_port: u16, host_port: u16) -> PortMapping {
    PortMapping { container_port, host_port, protocol: Protocol::Tcp, range: None }
}

#[tokio::test(flavor = "multi_thread")]
async fn published_ports_are_reached_from_everywhere() {
    for oci in oci_runtimes() {
        let mut host = Host::with(oci.clone()).await;
        let task = host.sandbox("task1", NetworkMode::Bridge).await;
        let mut spec = server(&host, "web1");
        spec.ports = vec![tcp(80, 0)];
        let first = run(&host, &task, spec).await;
        let port = first.ports[0].host_port;
        assert!(host.options.dynamic_ports.contains(&port));
        let loopback = (Ipv4Addr::LOCALHOST, port);
        serves(loopback, "web1").await;
        serves((own_address(), port), "web1").await;
        serves((first.address.unwrap(), 80), "web1").await;
        // The port is seen as taken.
        assert!(std::net::TcpListener::bind(("0.0.0.0", port)).is_err());
        // A second container of the task has an address of its own, so port 80 is free in it.
        let mut spec = server(&host, "web2");
        spec.ports = vec![tcp(80, 0)];
        let second = run(&host, &task, spec).await;
        serves((Ipv4Addr::LOCALHOST, second.ports[0].host_port), "web2").await;
        assert_ne!(first.address, second.address);
        // From other containers: directly, by the gateway, by the host's address; and a container
        // reaches itself by its host port.
        let gateway = host.runtime.gateway();
        let script =
            [fetch(first.address.unwrap(), 80), fetch(gateway, port), fetch(own_address(), port)]
                .concat();
        let text = ask(&host, &task, "client", &script).await;
        assert_eq!(text.matches("web1").count(), 3, "{oci:?}: {text}");
        let itself = host
            .runtime
            .exec(
                &task,
                "web1",
                wharf_runtime::ExecSpec {
                    args: vec!["sh".into(), "-c".into(), fetch(gateway, port)],
                    env: vec![],
                    cwd: String::new(),
                    user: String::new(),
                },
                Duration::from_secs(10),
            )
            .await
            .unwrap();
        assert_eq!(String::from_utf8_lossy(&itself.output), "web1\n", "{oci:?}");
        // A taken port is refused, and says which.
        let mut spec = server(&host, "web3");
        spec.ports = vec![tcp(80, port)];
        let error = host.runtime.create_container(&task, spec).await.unwrap_err();
        assert!(
            matches!(error, wharf_runtime::Error::PortTaken(mapping) if mapping.host_port == port)
        );
        // All this holds after a restart, and the rules go with the container.
        host.reopen().await;
        serves(loopback, "web1").await;
        host.runtime.delete_container(&task, "web1").await.unwrap();
        assert!(get(loopback.into()).is_none());
        assert!(std::net::TcpListener::bind(("0.0.0.0", port)).is_ok());
        host.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn udp_ports_are_published() {
    let host = Host::new().await;
    let task = host.sandbox("task1", NetworkMode::Bridge).await;
    let mut spec = host.shell("echo", "sleep 1000");
    spec.ports = vec![PortMapping {
        container_port: 53,
        host_port: 0,
        protocol: Protocol::Udp,
        range: None,
    }];
    let info = host.runtime.create_container(&task, spec).await.unwrap();
    let pid = host.runtime.start_container(&task, "echo").await.unwrap();
    // The echo server is a thread of ours that has gone into the container's namespace.
    let (bound, is_bound) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let netns = std::fs::File::open(format!("/proc/{pid}/ns/net")).unwrap();
        nix::sched::setns(netns, nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
        let socket = UdpSocket::bind("0.0.0.0:53").unwrap();
        bound.send(()).unwrap();
        let mut buffer = [0; 16];
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            let _ = socket.send_to(&buffer[..length], from);
        }
    });
    is_bound.recv().unwrap();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(("127.0.0.1", info.ports[0].host_port)).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let answer = until("an echo", async || {
        let _ = socket.send(b"ping");
        let mut buffer = [0; 16];
        let length = socket.recv(&mut buffer).ok()?;
        Some(buffer[..length].to_vec())
    })
    .await;
    assert!(answer.starts_with(b"ping"));
    host.end().await;
}

/// Answers every connection with a text.
fn answering(listener: std::net::TcpListener, text: &'static str) {
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut request = [0; 512];
            let _ = stream.read(&mut request);
            let _ = stream.write_all(b"HTTP/1.0 200 OK\r\n\r\n");
            let _ = stream.write_all(text.as_bytes());
        }
    });
}

/// Serves both task endpoints of a wharf.
async fn serve_endpoints(host: &Host, metadata: &'static str, api: &'static str) {
    let bind = || std::net::TcpListener::bind((host.runtime.gateway(), 0)).unwrap();
    let port = |listener: &std::net::TcpListener| listener.local_addr().unwrap().port();
    let (agent, forwarder) = (bind(), bind());
    let endpoints = TaskEndpoints { metadata: port(&agent), api: port(&forwarder), dns: None };
    answering(agent, metadata);
    answering(forwarder, api);
    host.runtime.set_task_endpoints(endpoints).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn every_task_reaches_its_own_agent_and_none_without_a_network() {
    for oci in oci_runtimes() {
        let host = Host::with(oci.clone()).await;
        // Tasks in network mode host share it with another wharf's.
        let other = Host::new().await;
        serve_endpoints(&host, "metadata\n", "the API\n").await;
        serve_endpoints(&other, "another's metadata\n", "another's API\n").await;
        let both = fetch("169.254.170.2", 80) + &fetch("169.254.170.4", 80) + "echo done";
        for (id, network) in [
            ("b", NetworkMode::Bridge),
            ("v", NetworkMode::Awsvpc(eni(&host, 9))),
            ("h", NetworkMode::Host),
        ] {
            let task = host.sandbox(id, network).await;
            let text = ask(&host, &task, "app", &both).await;
            assert_eq!(text, "metadata\nthe API\ndone\n", "{oci:?} {id}");
        }
        let task = host.sandbox("n", NetworkMode::None).await;
        let text = ask(&host, &task, "app", &both).await;
        assert!(text.contains("done\n"), "{oci:?}: {text}");
        assert!(!text.contains("metadata") && !text.contains("API"), "{oci:?}: {text}");
        let task = other.sandbox("h", NetworkMode::Host).await;
        let text = ask(&other, &task, "app", &both).await;
        assert_eq!(text, "another's metadata\nanother's API\ndone\n", "{oci:?}");
        // What is no task's at all is led nowhere.
        assert!(get(([169, 254, 170, 2], 80).into()).is_none());
        host.end().await;
        other.end().await;
    }
}

/// Runs a script with the host's programs in the network namespace of a process.
fn in_network_of(pid: i32, script: &str) -> String {
    let netns = format!("--net=/proc/{pid}/ns/net");
    let output =
        std::process::Command::new("nsenter").args([&netns, "sh", "-ec", script]).output().unwrap();
    String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap()
}

/// What a task must not reach is put where it would reach it if nothing were dropped, each thing
/// beside a neighbour that shows this.
#[tokio::test(flavor = "multi_thread")]
async fn tasks_reach_neither_loopback_nor_the_clouds_metadata() {
    let host = Host::new().await;
    let instance = &host.options.instance;
    for (bridge, address) in [
        ("wb", "169.254.169.254/32"),
        ("wb", "169.254.169.250/32"),
        ("wb", "fd00:ec2::254/128"),
        ("wb", "fd00:ec2::250/128"),
        ("wv", "fd00:ec2::254/128"),
        ("wv", "fd00:ec2::250/128"),
    ] {
        let add = format!("ip addr add {address} dev {bridge}-{instance}");
        let nodad = if address.contains("::") { " nodad" } else { "" };
        in_network_of(std::process::id() as i32, &(add + nodad));
    }
    // The way back to what the tasks take as their own below.
    for (bridge, address) in [("wb", "fd00:ec2::b"), ("wv", "fd00:ec2::c")] {
        let add = format!("ip -6 route add {address}/128 dev {bridge}-{instance}");
        in_network_of(std::process::id() as i32, &add);
    }
    let secret = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let secret_port = secret.local_addr().unwrap().port();
    answering(secret, "secret\n");
    let anywhere = std::net::TcpListener::bind("[::]:0").unwrap();
    let port = anywhere.local_addr().unwrap().port();
    answering(anywhere, "reached\n");
    let datagrams = UdpSocket::bind((host.runtime.gateway(), 0)).unwrap();
    let gateway = datagrams.local_addr().unwrap();
    for (id, network) in [("b", NetworkMode::Bridge), ("v", NetworkMode::Awsvpc(eni(&host, 9)))] {
        let task = host.sandbox(id, network).await;
        host.runtime.create_container(&task, host.shell("app", "sleep 1000")).await.unwrap();
        let pid = host.runtime.start_container(&task, "app").await.unwrap();
        // More than any root in a container can do: its network is turned against the host.
        let own = if id == "b" { "fd00:ec2::b" } else { "fd00:ec2::c" };
        let prepared = in_network_of(
            pid,
            &format!(
                "ip addr del 127.0.0.1/8 dev lo; echo 1 >/proc/sys/net/ipv4/conf/all/route_localnet
                 ip route add 127.0.0.0/8 via {} dev eth0 onlink
                 ip addr add 127.0.0.7/32 dev eth0
                 echo 0 >/proc/sys/net/ipv6/conf/eth0/disable_ipv6
                 ip -6 addr add {own}/64 dev eth0 nodad; echo prepared",
                gateway.ip()
            ),
        );
        assert_eq!(prepared, "prepared\n", "{id}");
        let ask = |address: &str, port: u16| {
            let answer = format!(
                "printf 'GET / HTTP/1.0\\r\\n\\r\\n' | busybox nc -w 2 {address} {port} || :"
            );
            in_network_of(pid, &answer)
        };
        for (forbidden, neighbour) in
            [("169.254.169.254", "169.254.169.250"), ("fd00:ec2::254", "fd00:ec2::250")]
        {
            let answer = ask(neighbour, port);
            assert!(answer.contains("reached"), "{id} {neighbour}: {answer}");
            let answer = ask(forbidden, port);
            assert!(answer.contains("timed out"), "{id} {forbidden}: {answer}");
        }
        let answer = ask("127.0.0.1", secret_port);
        assert!(!answer.contains("secret"), "{id}: {answer}");
        // The forged datagram goes out first; what arrives first is the honest one.
        std::thread::spawn(move || {
            let netns = std::fs::File::open(format!("/proc/{pid}/ns/net")).unwrap();
            nix::sched::setns(netns, nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
            for (from, text) in [("127.0.0.7:0", "forged"), ("0.0.0.0:0", "honest")] {
                UdpSocket::bind(from).unwrap().send_to(text.as_bytes(), gateway).unwrap();
            }
        })
        .join()
        .unwrap();
        datagrams.set_read_timeout(Some(harness::DEADLINE)).unwrap();
        let mut buffer = [0; 16];
        let length = datagrams.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"honest", "{id}");
    }
    host.end().await;
}

fn eni(host: &Host, number: u32) -> Eni {
    let address = host.options.vpc_cidr.nth(number).unwrap();
    Eni {
        mac: mac_of_address(address),
        address,
        prefix: host.options.vpc_cidr.prefix(),
        gateway: host.options.vpc_cidr.nth(1).unwrap(),
        private_dns_name: None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_awsvpc_task_has_one_network_and_is_reached_by_its_address() {
    for oci in oci_runtimes() {
        let host = Host::with(oci.clone()).await;
        let (one, two) = (eni(&host, 5), eni(&host, 6));
        let task = host.sandbox("one", NetworkMode::Awsvpc(one.clone())).await;
        let other = host.sandbox("two", NetworkMode::Awsvpc(two.clone())).await;
        let bridged = host.sandbox("three", NetworkMode::Bridge).await;
        let info = run(&host, &task, server(&host, "web")).await;
        assert_eq!(info.address, Some(one.address));
        serves((one.address, 80), "web").await;
        // A sidecar shares localhost, the address and the MAC.
        let text = ask(
            &host,
            &task,
            "side",
            &(fetch("127.0.0.1", 80) + "ip addr show eth0; cat /proc/sys/kernel/hostname"),
        )
        .await;
        let name = format!("ip-{}", one.address.to_string().replace('.', "-"));
        for expected in ["web\n", &format!("{}/20", one.address), &one.mac.to_string(), &name] {
            assert!(text.contains(expected), "{oci:?}: no {expected} in {text}");
        }
        let fetch = fetch(one.address, 80);
        for from in [&other, &bridged] {
            assert_eq!(ask(&host, from, "client", &fetch).await, "web\n", "{oci:?} {from}");
        }
        host.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn host_and_none_are_what_they_say() {
    for oci in oci_runtimes() {
        let host = Host::with(oci.clone()).await;
        let task = host.sandbox("h", NetworkMode::Host).await;
        let text = ask(&host, &task, "app", "ip -4 addr; cat /proc/sys/kernel/hostname").await;
        assert!(text.contains(&own_address().to_string()), "{oci:?}: {text}");
        let task = host.sandbox("n", NetworkMode::None).await;
        let text = ask(&host, &task, "app", "ip addr").await;
        assert!(text.contains("127.0.0.1/8") && !text.contains("eth0"), "{oci:?}: {text}");
        host.end().await;
    }
}
