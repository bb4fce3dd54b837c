//! The managed policies that AWS has in every account, as far as ECS's users attach them. Each grants
//! what the real one grants of the services that this server has; statements about others are kept
//! where they are short. AWS changes its documents from time to time; the ids and dates here are
//! this server's own.

use super::documents;
use crate::ecs::present::timestamp;
use sha2::{Digest, Sha256};
use wharf_model::Timestamp;
use wharf_wire::iam::types;

/// One policy.
pub(crate) struct BuiltIn {
    /// Its name.
    pub(crate) name: &'static str,
    path: &'static str,
    description: &'static str,
    /// Its document.
    pub(crate) document: &'static str,
}

/// 2015-02-06T18:40:58Z: when the first of them came.
const CREATED_AT: Timestamp = Timestamp(1_423_248_058_000);

/// The policy with this ARN.
pub(crate) fn find(arn: &str) -> Option<&'static BuiltIn> {
    let rest = arn.strip_prefix("arn:aws:iam::aws:policy")?;
    ALL.iter().find(|policy| rest.strip_prefix(policy.path).is_some_and(|name| name == policy.name))
}

impl BuiltIn {
    /// Its ARN.
    pub(crate) fn arn(&self) -> String {
        format!("arn:aws:iam::aws:policy{}{}", self.path, self.name)
    }

    /// As GetPolicy shows it.
    pub(super) fn view(&self, attachments: usize) -> types::Policy {
        const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
        let digest = Sha256::digest(self.name.as_bytes());
        let id = digest.iter().take(17).map(|b| char::from(ALPHABET[usize::from(b % 32)]));
        types::Policy {
            policy_name: Some(self.name.to_owned()),
            policy_id: Some("ANPA".chars().chain(id).collect()),
            arn: Some(self.arn()),
            path: Some(self.path.to_owned()),
            default_version_id: Some("v1".to_owned()),
            attachment_count: Some(i32::try_from(attachments).unwrap_or(i32::MAX)),
            permissions_boundary_usage_count: Some(0),
            is_attachable: Some(true),
            description: Some(self.description.to_owned()),
            create_date: Some(timestamp(CREATED_AT)),
            update_date: Some(timestamp(CREATED_AT)),
            tags: None,
        }
    }

    /// Its one version.
    pub(super) fn version(&self, with_document: bool) -> types::PolicyVersion {
        types::PolicyVersion {
            document: with_document.then(|| documents::shown(self.document)),
            version_id: Some("v1".to_owned()),
            is_default_version: Some(true),
            create_date: Some(timestamp(CREATED_AT)),
        }
    }
}

/// All of them, by name.
pub(crate) static ALL: &[BuiltIn] = &[
    BuiltIn {
        name: "AWSXRayDaemonWriteAccess",
        path: "/",
        description: "Allow the AWS X-Ray Daemon to relay raw trace segments data to the service's API.",
        document: include_str!("managed/AWSXRayDaemonWriteAccess.json"),
    },
    BuiltIn {
        name: "AdministratorAccess",
        path: "/",
        description: "Provides full access to AWS services and resources.",
        document: include_str!("managed/AdministratorAccess.json"),
    },
    BuiltIn {
        name: "AmazonEC2ContainerRegistryFullAccess",
        path: "/",
        description: "Provides administrative access to Amazon ECR resources",
        document: include_str!("managed/AmazonEC2ContainerRegistryFullAccess.json"),
    },
    BuiltIn {
        name: "AmazonEC2ContainerRegistryPowerUser",
        path: "/",
        description: "Provides full access to Amazon EC2 Container Registry repositories, but does not allow repository deletion or policy changes.",
        document: include_str!("managed/AmazonEC2ContainerRegistryPowerUser.json"),
    },
    BuiltIn {
        name: "AmazonEC2ContainerRegistryPullOnly",
        path: "/",
        description: "Provides pull-only access to Amazon EC2 Container Registry repositories.",
        document: include_str!("managed/AmazonEC2ContainerRegistryPullOnly.json"),
    },
    BuiltIn {
        name: "AmazonEC2ContainerRegistryReadOnly",
        path: "/",
        description: "Provides read-only access to Amazon EC2 Container Registry repositories.",
        document: include_str!("managed/AmazonEC2ContainerRegistryReadOnly.json"),
    },
    BuiltIn {
        name: "AmazonEC2ContainerServiceforEC2Role",
        path: "/service-role/",
        description: "Default policy for the Amazon EC2 Role for Amazon EC2 Container Service.",
        document: include_str!("managed/AmazonEC2ContainerServiceforEC2Role.json"),
    },
    BuiltIn {
        name: "AmazonEC2ReadOnlyAccess",
        path: "/",
        description: "Provides read only access to Amazon EC2 via the AWS Management Console.",
        document: include_str!("managed/AmazonEC2ReadOnlyAccess.json"),
    },
    BuiltIn {
        name: "AmazonECSTaskExecutionRolePolicy",
        path: "/service-role/",
        description: "Provides access to other AWS service resources that are required to run Amazon ECS tasks",
        document: include_str!("managed/AmazonECSTaskExecutionRolePolicy.json"),
    },
    BuiltIn {
        name: "AmazonECS_FullAccess",
        path: "/",
        description: "Provides administrative access to Amazon ECS resources and enables ECS features through access to other AWS service resources.",
        document: include_str!("managed/AmazonECS_FullAccess.json"),
    },
    BuiltIn {
        name: "AmazonS3FullAccess",
        path: "/",
        description: "Provides full access to all buckets via the AWS Management Console.",
        document: include_str!("managed/AmazonS3FullAccess.json"),
    },
    BuiltIn {
        name: "AmazonS3ReadOnlyAccess",
        path: "/",
        description: "Provides read only access to all buckets via the AWS Management Console.",
        document: include_str!("managed/AmazonS3ReadOnlyAccess.json"),
    },
    BuiltIn {
        name: "AmazonSSMFullAccess",
        path: "/",
        description: "Provides full access to Amazon SSM.",
        document: include_str!("managed/AmazonSSMFullAccess.json"),
    },
    BuiltIn {
        name: "AmazonSSMManagedInstanceCore",
        path: "/",
        description: "The policy for Amazon EC2 Role to enable AWS Systems Manager service core functionality.",
        document: include_str!("managed/AmazonSSMManagedInstanceCore.json"),
    },
    BuiltIn {
        name: "AmazonSSMReadOnlyAccess",
        path: "/",
        description: "Provides read only access to Amazon SSM.",
        document: include_str!("managed/AmazonSSMReadOnlyAccess.json"),
    },
    BuiltIn {
        name: "CloudWatchAgentServerPolicy",
        path: "/",
        description: "Permissions required to use AmazonCloudWatchAgent on servers",
        document: include_str!("managed/CloudWatchAgentServerPolicy.json"),
    },
    BuiltIn {
        name: "CloudWatchLogsFullAccess",
        path: "/",
        description: "Provides full access to CloudWatch Logs",
        document: include_str!("managed/CloudWatchLogsFullAccess.json"),
    },
    BuiltIn {
        name: "CloudWatchLogsReadOnlyAccess",
        path: "/",
        description: "Provides read only access to CloudWatch Logs",
        document: include_str!("managed/CloudWatchLogsReadOnlyAccess.json"),
    },
    BuiltIn {
        name: "IAMFullAccess",
        path: "/",
        description: "Provides full access to IAM via the AWS Management Console.",
        document: include_str!("managed/IAMFullAccess.json"),
    },
    BuiltIn {
        name: "IAMReadOnlyAccess",
        path: "/",
        description: "Provides read only access to IAM via the AWS Management Console.",
        document: include_str!("managed/IAMReadOnlyAccess.json"),
    },
    BuiltIn {
        name: "PowerUserAccess",
        path: "/",
        description: "Provides full access to AWS services and resources, but does not allow management of Users and groups.",
        document: include_str!("managed/PowerUserAccess.json"),
    },
    BuiltIn {
        name: "ReadOnlyAccess",
        path: "/",
        description: "Provides read-only access to AWS services and resources.",
        document: include_str!("managed/ReadOnlyAccess.json"),
    },
    BuiltIn {
        name: "SecretsManagerReadWrite",
        path: "/",
        description: "Provides read/write access to AWS Secrets Manager via the AWS Management Console.",
        document: include_str!("managed/SecretsManagerReadWrite.json"),
    },
];
