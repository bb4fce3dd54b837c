//! What Amazon's agents aren't told: who may speak with whom. EC2 enforces security groups outside of
//! its instances; here the agent's host does. Agents that don't know the message drop it.

use crate::agent_message::message;

message! {
    /// Control plane → agent: networks, security groups and the interfaces in them. The first one of
    /// a session is complete; later ones have what has changed, of load balancers all or nothing.
    /// Nothing is acknowledged: a new session begins anew.
    NetworkPolicyMessage {
        message_id: String,
        complete: bool,
        networks: Vec<PolicyNetwork>,
        groups: Vec<PolicyGroup>,
        interfaces: Vec<PolicyInterface>,
        removed_addresses: Vec<String>,
        load_balancers: Vec<PolicyLoadBalancer>,
    }
}

message! {
    /// A load balancer: the name that tasks find it by, its address among them, its groups.
    PolicyLoadBalancer {
        name: String,
        address: String,
        groups: Vec<String>,
    }
}

message! {
    /// A VPC.
    PolicyNetwork {
        cidr: String,
        internet_cidrs: Vec<String>,
    }
}

message! {
    /// A security group.
    PolicyGroup {
        id: String,
        ingress: Vec<PolicyRule>,
        egress: Vec<PolicyRule>,
    }
}

message! {
    /// A rule: either addresses or a group.
    PolicyRule {
        protocol: String,
        from_port: i64,
        to_port: i64,
        cidr: String,
        group: String,
    }
}

message! {
    /// A task's interface.
    PolicyInterface {
        address: String,
        groups: Vec<String>,
    }
}
