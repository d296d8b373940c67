//! From plans to tables: the publishing task and those who pick through the agent.
//!
//! - [`task`]: [`Tables`], the thread with the one timer, its sleep and wake-up
//! - [`live`]: [`Live`], a target with a table: picks, explanations
//! - [`service`]: [`ServicePublisher`], one service's cycle; also runs on virtual time
//! - [`segment`]: a table with its slots and attached counters
//! - [`structure`]: a plan as a table's structure; [`period`]: how often, how much is believed;
//!   [`retry`]: the retry budget; [`samples`]: the last picks

pub mod live;
pub mod period;
pub mod retry;
pub mod samples;
pub mod segment;
pub mod service;
pub mod structure;
pub mod task;

pub use live::{
    CellView, EndpointStatus, Explanation, Held, Live, NoEndpoint, Picked, Target, Want,
};
pub use pointsman_table::{Outcome, ServerLoad};
pub use samples::Sample;
pub use segment::Memory;
pub use service::{Pass, ServicePublisher, Setup};
pub use task::Tables;
