//! What is answered: pure.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use simple_dns::rdata::{A, OPT, RData};
use simple_dns::{CLASS, OPCODE, Packet, PacketFlag, QTYPE, Question, RCODE, ResourceRecord, TYPE};

/// The domains that load balancers' names are in; nobody else has names there.
const DOMAINS: [&str; 2] = ["elb.localhost", "elb.wharf.internal"];
/// How long an address may be kept, in seconds: as long as those of Amazon's load balancers.
const TTL: u32 = 60;
/// The longest answer by UDP, as it is told.
const UDP_PAYLOAD: u16 = 1232;

/// What becomes of a question.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// It is answered here.
    Own(Vec<u8>),
    /// The host's name servers are asked.
    Upstream,
    /// It is no question.
    Nothing,
}

/// Answers for the domains of load balancers, as far as they are known.
pub(super) fn answer(message: &[u8], known: Option<&BTreeMap<String, Ipv4Addr>>) -> Answer {
    let Ok(packet) = Packet::parse(message) else { return unreadable(message) };
    if packet.has_flags(PacketFlag::RESPONSE) {
        return Answer::Nothing;
    }
    let [question] = &packet.questions[..] else { return Answer::Upstream };
    let name = question.qname.to_string().to_ascii_lowercase();
    let name = name.trim_end_matches('.');
    if packet.opcode() != OPCODE::StandardQuery || !DOMAINS.iter().any(|d| is_in(name, d)) {
        return Answer::Upstream;
    }
    let Some(known) = known else { return own(&packet, question, RCODE::ServerFailure, None) };
    let address = known.get(name).copied();
    let code = match address {
        Some(_) => RCODE::NoError,
        // Above a name that is there is no name, but nothing that would not exist either.
        None if DOMAINS.contains(&name) || known.keys().any(|k| is_in(k, name)) => RCODE::NoError,
        None => RCODE::NameError,
    };
    let asked = matches!(question.qtype, QTYPE::TYPE(TYPE::A) | QTYPE::ANY);
    own(&packet, question, code, address.filter(|_| asked))
}

/// A question of a kind that isn't known here is for those who may know it.
fn unreadable(message: &[u8]) -> Answer {
    let is_question = message.len() > 12 && message[2] & 0x80 == 0 && message[4..6] == [0, 1];
    if is_question { Answer::Upstream } else { Answer::Nothing }
}

/// The answer to a question that nobody answered.
pub(super) fn failure(message: &[u8]) -> Option<Vec<u8>> {
    let packet = Packet::parse(message).ok()?;
    match own(&packet, packet.questions.first()?, RCODE::ServerFailure, None) {
        Answer::Own(answer) => Some(answer),
        _ => None,
    }
}

fn is_in(name: &str, domain: &str) -> bool {
    name.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

fn own(
    packet: &Packet<'_>,
    question: &Question<'_>,
    code: RCODE,
    address: Option<Ipv4Addr>,
) -> Answer {
    let mut reply = Packet::new_reply(packet.id());
    reply.set_flags(PacketFlag::RECURSION_AVAILABLE);
    if packet.has_flags(PacketFlag::RECURSION_DESIRED) {
        reply.set_flags(PacketFlag::RECURSION_DESIRED);
    }
    if code != RCODE::ServerFailure {
        reply.set_flags(PacketFlag::AUTHORITATIVE_ANSWER);
    }
    *reply.rcode_mut() = code;
    reply.questions.push(question.clone());
    if let Some(address) = address {
        let data = RData::A(A { address: address.into() });
        reply.answers.push(ResourceRecord::new(question.qname.clone(), CLASS::IN, TTL, data));
    }
    if packet.opt().is_some() {
        let opt = OPT { opt_codes: Vec::new(), udp_packet_size: UDP_PAYLOAD, version: 0 };
        *reply.opt_mut() = Some(opt);
    }
    reply.build_bytes_vec_compressed().map_or(Answer::Nothing, Answer::Own)
}

#[cfg(test)]
mod tests {
    use super::*;
    use simple_dns::{Name, QCLASS};

    fn question(name: &str, kind: QTYPE) -> Vec<u8> {
        let mut packet = Packet::new_query(7);
        packet.set_flags(PacketFlag::RECURSION_DESIRED);
        let class = QCLASS::CLASS(CLASS::IN);
        packet.questions.push(Question::new(Name::new(name).unwrap(), kind, class, false));
        packet.build_bytes_vec().unwrap()
    }

    fn known() -> BTreeMap<String, Ipv4Addr> {
        BTreeMap::from([
            ("web-1.us-east-1.elb.localhost".to_owned(), Ipv4Addr::new(10, 0, 0, 4)),
            ("flows-2.us-east-1.elb.wharf.internal".to_owned(), Ipv4Addr::new(10, 0, 0, 5)),
        ])
    }

    #[test]
    fn each_name_has_its_answer() {
        let (a, aaaa) = (QTYPE::TYPE(TYPE::A), QTYPE::TYPE(TYPE::AAAA));
        let known = known();
        for (name, kind, code, count) in [
            ("web-1.us-east-1.elb.localhost", a, RCODE::NoError, 1),
            ("WEB-1.us-east-1.ELB.localhost", a, RCODE::NoError, 1),
            ("web-1.us-east-1.elb.localhost", aaaa, RCODE::NoError, 0),
            ("flows-2.us-east-1.elb.wharf.internal", a, RCODE::NoError, 1),
            ("us-east-1.elb.localhost", a, RCODE::NoError, 0),
            ("elb.localhost", a, RCODE::NoError, 0),
            ("web-2.us-east-1.elb.localhost", a, RCODE::NameError, 0),
            ("x.web-1.us-east-1.elb.localhost", a, RCODE::NameError, 0),
        ] {
            let Answer::Own(bytes) = answer(&question(name, kind), Some(&known)) else {
                panic!("{name} isn't answered");
            };
            let reply = Packet::parse(&bytes).unwrap();
            assert_eq!(
                (reply.id(), reply.rcode(), reply.answers.len()),
                (7, code, count),
                "{name}"
            );
            assert!(
                reply.has_flags(PacketFlag::RECURSION_DESIRED | PacketFlag::RESPONSE),
                "{name}"
            );
        }
    }

    #[test]
    fn other_names_are_others_to_answer() {
        let a = QTYPE::TYPE(TYPE::A);
        for name in ["example.com", "localhost", "belb.localhost", "elb.localhost.example"] {
            assert_eq!(answer(&question(name, a), Some(&known())), Answer::Upstream, "{name}");
        }
    }

    #[test]
    fn what_is_no_question_has_no_answer() {
        let a = QTYPE::TYPE(TYPE::A);
        let mut response = question("elb.localhost", a);
        response[2] |= 0x80;
        for bytes in [&b""[..], b"GET / HTTP/1.1\r\n", &[0xff; 40], &response] {
            assert_eq!(answer(bytes, Some(&known())), Answer::Nothing, "{bytes:?}");
        }
    }
}
