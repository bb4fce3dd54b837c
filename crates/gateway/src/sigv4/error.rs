//! Why a request was not let in, in AWS's words.

/// A request that the gate refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No credentials in any form.
    #[error("Missing Authentication Token")]
    Missing,
    /// Credentials that can't be read, or that leave out what they must cover.
    #[error("{0}")]
    Incomplete(String),
    /// The request is too old, or a presigned one has ended.
    #[error("Signature expired: {signed} is now earlier than {limit} ({now} - {allowance})")]
    Expired {
        /// The request's time.
        signed: String,
        /// The oldest time that would have been taken.
        limit: String,
        /// The server's time.
        now: String,
        /// The window in words: `5 min.`
        allowance: String,
    },
    /// The request's time lies in the future.
    #[error("Signature not yet current: {signed} is still later than {limit} ({now} + 5 min.)")]
    NotYetCurrent {
        /// The request's time.
        signed: String,
        /// The latest time that would have been taken.
        limit: String,
        /// The server's time.
        now: String,
    },
    /// The scope names another day, region, service or terminator than the request.
    #[error("{0}")]
    Scope(String),
    /// The body isn't covered by the signature as this server demands.
    #[error("{0}")]
    Payload(String),
    /// Wrong signature or unknown key: deliberately one answer.
    #[error(
        "The request signature we calculated does not match the signature you provided. Check \
         your AWS Secret Access Key and signing method. Consult the service documentation for \
         details."
    )]
    Mismatch,
    /// Temporary credentials past their time.
    #[error("The security token included in the request is expired")]
    TokenExpired,
}

/// What kind of refusal it is: each protocol has its own code for each kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// There were no credentials.
    Missing,
    /// The credentials can't be understood.
    Incomplete,
    /// The signature doesn't hold for this request, now, here.
    Signature,
    /// Temporary credentials have expired.
    TokenExpired,
}

impl Error {
    /// The kind of refusal.
    pub const fn reason(&self) -> Reason {
        match self {
            Self::Missing => Reason::Missing,
            Self::Incomplete(_) => Reason::Incomplete,
            Self::TokenExpired => Reason::TokenExpired,
            Self::Expired { .. }
            | Self::NotYetCurrent { .. }
            | Self::Scope(_)
            | Self::Payload(_)
            | Self::Mismatch => Reason::Signature,
        }
    }
}
