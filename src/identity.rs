//! The identity of a caller. Leases, quotas, access and judgements go by it.
//!
//! A caller that came through its pod's own folder has the identity of that pod. Any other has that
//! of its process's user, as the kernel reports it. An identity is a few bytes, so that it can be a
//! key everywhere. [`Pods`] has the name of a pod.

mod caller;
mod pod_uid;
mod pods;

pub use caller::Identity;
pub use pod_uid::PodUid;
pub use pods::{Pod, PodName, Pods};
