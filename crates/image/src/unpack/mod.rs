//! Unpacks a layer's tar into a directory that overlay takes as a lower directory.
//!
//! Whiteouts become overlay's form (a 0/0 character device, `trusted.overlay.opaque`). What an
//! archive may not do is refused with an error and the whole layer with it: names with `..`, hard
//! links out, device nodes (those below `dev/`, which every container gets anew, are left out
//! instead), attributes that would speak to overlay. Absolute names are taken relative to the
//! layer's root, as GNU tar and docker do.

mod decompress;
mod layer;
mod pax;
mod rootfs;
mod tar_stream;

pub use decompress::decompress;
pub(crate) use layer::unpack_over;
pub use layer::{Error, Limits, Unpacked, unpack};
pub(crate) use rootfs::{Below, remove_tree};
pub use tar_stream::{Error as TarError, Kind, Member, TarReader};
